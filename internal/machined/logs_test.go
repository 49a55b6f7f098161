package machined

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/machined/keptlog"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/server/ringlog"
	"github.com/cyvive/cyvive/internal/storagetest"
)

// kernelLog is a kernel's log of one record, once there is that.
type kernelLog struct{ record atomic.Pointer[string] }

func (k *kernelLog) Since(next uint64, _ int) ([]byte, uint64, error) {
	record := k.record.Load()
	if next > 0 || record == nil {
		return nil, next, nil
	}
	return []byte(*record), 1, nil
}

// TestLogsOverABoot: what services and the kernel wrote is read in the next boot, to the last line where the machine went down in order, and with a word about it where not.
func TestLogsOverABoot(t *testing.T) {
	t.Parallel()
	state, disk, volume := t.TempDir(), storagetest.New(0), filepath.Join(t.TempDir(), "services")
	// boot starts an agent that has looked for logs, and has a service write a line; no pass comes after that but the last.
	boot := func(id, line string) *node {
		t.Helper()
		run, kernel := t.TempDir(), &kernelLog{}
		n := startNodeWith(t, state, disk, func(c *Config) {
			c.Boot.ID, c.Pace.KeepLogs = id, time.Hour
			c.Kept = keptlog.New(keptlog.Config{
				Dir: volume, Places: filepath.Join(run, "places.json"), Boot: id, Rings: []keptlog.Ring{{Source: ringlog.Source{Dir: run}, MaxLogs: 4}},
				Free: func(string) (uint64, error) { return 1 << 40, nil }, Kernel: kernel,
			})
		})
		n.source.set(documents(t))
		n.awaitOther("the logs of boot "+id, func() bool {
			_, err := pastLogsAPI{n.Agent}.PastServices(t.Context())
			return !errors.Is(err, server.ErrUnavailable)
		})
		if err := os.WriteFile(filepath.Join(run, "etcd.log"), []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
		record := "<6>[    1.000000] in boot " + id + "\n"
		kernel.record.Store(&record)
		return n
	}
	past := func(n *node, log string) (lines []string, lacks string) {
		t.Helper()
		err := pastLogsAPI{n.Agent}.PastLog(t.Context(), log, -1, func(what string) { lacks = what }, func(line []byte) error {
			lines = append(lines, string(line))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return lines, lacks
	}

	first := boot("first", "one\ntwo")
	if _, err := (pastLogsAPI{first.Agent}).PastServices(t.Context()); !errors.Is(err, server.ErrNotFound) {
		t.Errorf("in the first boot: got %v, want ErrNotFound", err)
	}
	if err := (machineAPI{first.Agent}).Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := first.Teardown(t.Context()); err != nil {
		t.Fatal(err)
	}
	first.end()
	disk.Boot(true)

	second := boot("second", "three\n")
	if got, lacks := past(second, "etcd"); !slices.Equal(got, []string{"one", "two"}) || lacks != "" {
		t.Errorf("after a reboot: got %q, lacking %q", got, lacks)
	}
	if got, lacks := past(second, server.KernelLog); !slices.Equal(got, []string{"<6>[    1.000000] in boot first"}) || lacks != "" {
		t.Errorf("the kernel's after a reboot: got %q, lacking %q", got, lacks)
	}
	second.end() // the agent alone
	disk.Boot(false)

	third := boot("third", "")
	for log, want := range map[string]string{"etcd": "three", server.KernelLog: "<6>[    1.000000] in boot second"} {
		if got, lacks := past(third, log); !slices.Equal(got, []string{want}) || !strings.Contains(lacks, "boot second were not ended in order") {
			t.Errorf("%s after a power cut: got %q, lacking %q", log, got, lacks)
		}
	}
}

// TestNoLogsAreKept: an agent without a place for logs says so.
func TestNoLogsAreKept(t *testing.T) {
	t.Parallel()
	n := startNode(t, t.TempDir(), storagetest.New(0))
	_, err := pastLogsAPI{n.Agent}.PastServices(t.Context())
	logErr := pastLogsAPI{n.Agent}.PastLog(t.Context(), "etcd", -1, func(string) {}, nil)
	if !errors.Is(err, server.ErrNotFound) || !errors.Is(logErr, server.ErrNotFound) {
		t.Errorf("got %v and %v, want ErrNotFound", err, logErr)
	}
}
