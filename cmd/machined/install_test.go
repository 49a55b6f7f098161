package main

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/cyvive/cyvive/internal/machined/boot/marker"
	"github.com/cyvive/cyvive/internal/machined/install"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage/loader"
)

// TestInstallsOnMedium: a system without a slot installs nothing, but for one that runs from an installation medium, whose disk has the release as slot a.
func TestInstallsOnMedium(t *testing.T) {
	got := installs(slog.New(slog.DiscardHandler), nil, marker.Marker{Disk: "loop0", Medium: true}, testVersion(), nil, nil, nil)
	if got == nil {
		t.Fatal("a medium installs nothing")
	}
	if r, ok := got.Running.(running); !ok || r.slot != "a" || r.device != "/dev/loop0" || r.version != "1.2.3" {
		t.Errorf("it installs %+v", got.Running)
	}
	m := marker.Marker{Disk: "loop0", Medium: true}
	if upgrades(slog.New(slog.DiscardHandler), nil, nil, m, "") != nil || resets(nil, m) != nil {
		t.Error("a medium is upgraded, or reset")
	}
}

// TestKeysToCome: a disk is not sealed to the TPM of a machine whose first start from it may enrol keys.
func TestKeysToCome(t *testing.T) {
	const setupMode = "SetupMode-8be4df61-93ca-11d2-aa0d-00e098032b8c"
	with, without, off, on := t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()
	for path, data := range map[string][]byte{
		filepath.Join(with, autoKeys, "PK.auth"):        nil,
		filepath.Join(without, "loader", "loader.conf"): nil,
		filepath.Join(off, setupMode):                   {6, 0, 0, 0, 0},
		filepath.Join(on, setupMode):                    {6, 0, 0, 0, 1},
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		esp, variables string
		refused        bool
	}{
		"keys, in setup mode":    {with, on, true},
		"no keys, in setup mode": {without, on, false},
		"keys, enrolled already": {with, off, false},
		"no such firmware":       {with, filepath.Join(off, "none"), false},
	} {
		boot := loader.New(func() (loader.Volume, error) {
			return loader.Volume{Dir: c.esp, Close: func() error { return nil }}, nil
		})
		err := keysToCome(boot, c.variables)
		if errors.Is(err, errKeysToCome) != c.refused || err != nil && !c.refused {
			t.Errorf("%s: %v", name, err)
		}
		asked := &countingSealer{}
		if got := (settled{asked, err}).WouldOpen(nil); errors.Is(got, errKeysToCome) != c.refused || asked.asked == c.refused {
			t.Errorf("%s: would open: %v, and the sealer was asked: %t", name, got, asked.asked)
		}
	}
}

// countingSealer is a Sealer that notes whether it was asked.
type countingSealer struct {
	install.Sealer
	asked bool
}

func (s *countingSealer) WouldOpen(io.ReaderAt) error {
	s.asked = true
	return nil
}

func testVersion() server.Version { return server.Version{OS: "1.2.3"} }

// TestRunningBoot: the boot partition is handed out while it is mounted, with the kernel image of the running slot.
func TestRunningBoot(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"EFI/BOOT/BOOTX64.EFI": "loader", "EFI/cyvive/a.efi": "old", "EFI/cyvive/b.efi": "kernel"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mounted := 0
	r := running{slot: "b", version: "1.2.3", rootHash: "ab", boot: loader.New(func() (loader.Volume, error) {
		mounted++
		return loader.Volume{Dir: dir, Close: func() error { mounted--; return nil }}, nil
	})}
	got, err := r.Release(t.Context())
	if err != nil || got.Version != "1.2.3" || got.RootHash != "ab" || got.KernelBytes != int64(len("kernel")) || got.Pushed {
		t.Errorf("release %+v, %v", got, err)
	}
	err = r.Boot(t.Context(), func(b install.Boot) error {
		kernel, err := io.ReadAll(b.Kernel)
		if err != nil || string(kernel) != "kernel" || mounted != 1 {
			t.Errorf("kernel %q, %v; mounted %d times", kernel, err, mounted)
		}
		f, err := b.Files.Open("EFI/BOOT/BOOTX64.EFI")
		if err == nil {
			err = f.Close()
		}
		return err
	})
	if err != nil || mounted != 0 {
		t.Errorf("%v, still mounted %d times", err, mounted)
	}
	r.slot = "c"
	if _, err := r.Release(t.Context()); err == nil {
		t.Error("a slot without a kernel image can be installed")
	}
}
