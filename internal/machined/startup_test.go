package machined

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/ledger"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storagetest"
)

// TestStateVolumeComesFirst: what a node keeps on its state volume is looked at only when that is mounted, as else it would be written below the
// mount: what the boot before left, the boot ledger, and the configuration.
func TestStateVolumeComesFirst(t *testing.T) {
	t.Parallel()
	disk := storagetest.New(1 << 30)
	disk.FailPower(0)
	var taken, early atomic.Int32
	n := startNodeWith(t, t.TempDir(), disk, func(c *Config) {
		c.Crash = func() (string, error) {
			if taken.Add(1); strings.Contains(disk.String(), "mounts map[]") {
				early.Add(1)
			}
			return "kernel panic: bad", nil
		}
		c.Crashes = kept{{FoundBy: "boot", Records: 1}}
	})
	crashes := crashesAPI{n.Agent}
	n.source.set(standalone(t))
	n.await("a problem of the state volume", func(s snapshot) bool { return stateProblem(s) != "" })
	entries, err := os.ReadDir(n.state)
	if err != nil || len(entries) > 0 || taken.Load() > 0 {
		t.Errorf("before the state volume is mounted: %v, %v, crashes taken %d times", entries, err, taken.Load())
	}
	_, err = crashes.Crashes(t.Context())
	if !errors.Is(err, server.ErrUnavailable) || !strings.Contains(err.Error(), stateProblem(n.snapshot())) {
		t.Errorf("crashes before the state volume is mounted: %v", err)
	}
	if err := crashes.CrashLog(t.Context(), "", -1, nil); !errors.Is(err, server.ErrUnavailable) {
		t.Errorf("log of a crash before the state volume is mounted: %v", err)
	}

	disk.Boot(true)
	n.await("configuration and identity", func(s snapshot) bool { return s.identity && s.input.Config != nil })
	n.awaitFile("config")
	if _, err := os.Stat(filepath.Join(n.state, "boots.jsonl")); err != nil || taken.Load() != 1 || early.Load() > 0 {
		t.Errorf("%v; crashes taken %d times, %d of them without the state volume", err, taken.Load(), early.Load())
	}
	list, err := crashes.Crashes(t.Context())
	if err != nil || len(list) != 1 {
		t.Errorf("crashes: %v, %v", list, err)
	}
	if err := crashes.CrashLog(t.Context(), "", -1, nil); !errors.Is(err, server.ErrNotFound) {
		t.Errorf("log of a crash: %v", err)
	}
}

// kept are crashes without a log.
type kept []server.Crash

func (k kept) Crashes(context.Context) ([]server.Crash, error) { return k, nil }

func (k kept) CrashLog(context.Context, string, int, func(server.CrashLine) error) error {
	return server.ErrNotFound
}

// TestVolumesWaitForTheConfiguration: a machine with a TPM makes its volumes when the configuration says how, and keeps that configuration.
func TestVolumesWaitForTheConfiguration(t *testing.T) {
	for mode, encrypted := range map[config.EncryptionMode]bool{config.EncryptionNone: false, config.EncryptionTPM: true} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			disk := storagetest.New(1 << 30)
			n := startNodeWith(t, t.TempDir(), disk, func(c *Config) {
				c.Boot.TPM, c.Storage = true, storage.New(disk, disk, disk, disk)
			})
			n.await("a disk that waits", func(s snapshot) bool { return s.storage.Status.StateUndecided })
			if got := disk.String(); !strings.Contains(got, `state 64 MiB signature=""`) || !strings.Contains(got, "mounts map[]") {
				t.Errorf("without a configuration the disk is\n%s", got)
			}
			n.source.set(withEncryption(t, mode))
			n.await("storage and identity", func(s snapshot) bool { return s.identity && s.storage.Status.Ready })
			if got := disk.String(); strings.Contains(got, "encrypted state") != encrypted || strings.Contains(got, "encrypted data") != encrypted {
				t.Errorf("the disk is\n%s", got)
			}
			if capped, err := disk.Capped(); !capped || err != nil {
				t.Errorf("the TPM gives out keys: %v", err)
			}
			n.awaitFile("config")
		})
	}
}

// withEncryption is a configuration that says how the disk is made.
func withEncryption(t *testing.T, mode config.EncryptionMode) []byte {
	t.Helper()
	return bytes.Replace(standalone(t), []byte("kind: Machine\n"), []byte("kind: Machine\ndisk: {encryption: {mode: "+mode+"}}\n"), 1)
}

// TestRefusedVolume: what lies on data, and is left alone, keeps the node from its data, and not from who it is and its ledger. A boot is not blamed for it.
func TestRefusedVolume(t *testing.T) {
	t.Parallel()
	state, disk := t.TempDir(), storagetest.New(0)
	disk.SetContents("/dev/vda7", storage.Contents{Signature: "ntfs"})
	n := startNodeWith(t, state, disk, func(c *Config) { c.Boot.ID = "boot-1" })
	n.await("identity", func(s snapshot) bool { return s.identity })
	n.end()
	disk.Boot(true)
	n = startNodeWith(t, state, disk, func(c *Config) { c.Boot.ID = "boot-2" })
	n.await("identity of the boot after", func(s snapshot) bool { return s.identity && !s.storage.Status.DataMounted })
	if boots := n.history.get().Boots(); len(boots) != 2 || boots[0].End != ledger.Clean {
		t.Errorf("the ledger has %+v", boots)
	}
}
