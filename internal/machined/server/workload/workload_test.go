package workload

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/machined/server"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func stat(name string, ticks int) string {
	return fmt.Sprintf("7 (%s) S 1%s %d 5 5\n", name, strings.Repeat(" 0", 17), ticks)
}

func TestList(t *testing.T) {
	root, proc, booted := t.TempDir(), t.TempDir(), time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)
	programs := Programs(root)
	if got, err := List(proc, programs, booted); err != nil || got != nil {
		t.Errorf("without a plane: got %v, %v", got, err)
	}
	write(t, filepath.Join(root, "containerd", "cgroup.procs"), "30\n20\n0\n40\n50\n")
	write(t, filepath.Join(root, "kubelet", "cgroup.procs"), "")
	write(t, filepath.Join(proc, "20", "stat"), stat("containerd", 250))
	write(t, filepath.Join(proc, "30", "stat"), stat("a) S (b", 900))
	write(t, filepath.Join(proc, "40", "stat"), "nonsense")
	want := []server.Service{
		{Name: "plane/containerd", State: server.ServiceRunning, PID: 20, Since: booted.Add(2500 * time.Millisecond)},
		{Name: "kubelet", State: server.ServiceStopped},
	}
	got, err := List(proc, programs, booted)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	write(t, filepath.Join(root, "kubelet", "cgroup.procs"), "x\n")
	if _, err := List(proc, programs, booted); err == nil {
		t.Error("a cgroup.procs of no numbers: no error")
	}
}

// TestOwnProcess reads the real form of the kernel this runs on.
func TestOwnProcess(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "kubelet", "cgroup.procs"), strconv.Itoa(os.Getpid()))
	got, err := List("/proc", Programs(root), time.Now())
	if err != nil || len(got) != 1 || got[0].PID != uint32(os.Getpid()) || got[0].State != server.ServiceRunning {
		t.Errorf("got %v, %v", got, err)
	}
}

func FuzzStartTicks(f *testing.F) {
	f.Add([]byte(stat("containerd", 250)))
	f.Add([]byte("1 (a) b) S"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if ticks, err := startTicks(in); err == nil && time.Duration(ticks) < 0 {
			t.Errorf("%q: %d", in, ticks)
		}
	})
}
