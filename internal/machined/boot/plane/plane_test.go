package plane

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCheck(t *testing.T) {
	tests := map[string]struct {
		pid         int
		env, cgroup string
		want        string
	}{
		"the plane":            {1, "1", "domain\n", ""},
		"not PID 1":            {7, "1", "domain\n", "this is PID 7"},
		"no environment":       {1, "", "domain\n", "CYVIVE_PLANE=1 is not set"},
		"the machine's cgroup": {1, "1", "", "is the machine's own cgroup root"},
	}
	for name, test := range tests {
		err := check(test.pid, test.env, test.cgroup)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.want != "" && (!errors.Is(err, ErrNotHere) || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v, want a refusal with %q", name, err, test.want)
		}
	}
}

func TestReadArgs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "args")
	if args, err := readArgs(path); args != nil || err != nil {
		t.Errorf("no file: %v, %v", args, err)
	}
	os.WriteFile(path, []byte(`["--hostname-override=n1","--v=2"]`), 0o600)
	args, err := readArgs(path)
	if d := cmp.Diff([]string{"--hostname-override=n1", "--v=2"}, args); d != "" || err != nil {
		t.Errorf("%v\n%s", err, d)
	}
	kubelet := services(args)[1].Command.Args
	want := []string{
		"kubelet", "--config=/etc/kubernetes/kubelet.yaml", "--kubeconfig=/etc/kubernetes/kubelet.kubeconfig",
		"--hostname-override=n1", "--v=2",
	}
	if d := cmp.Diff(want, kubelet); d != "" {
		t.Error(d)
	}
	os.WriteFile(path, []byte(`{"a":1}`), 0o600)
	if _, err := readArgs(path); err == nil {
		t.Error("an object was taken for a list")
	}
}

// group makes a directory that looks like a cgroup.
func group(t *testing.T, events string) string {
	t.Helper()
	dir := t.TempDir()
	os.Mkdir(filepath.Join(dir, "pod"), 0o755)
	os.WriteFile(filepath.Join(dir, "cgroup.procs"), nil, 0o600)
	os.WriteFile(filepath.Join(dir, "pod/cgroup.procs"), []byte("12\n7\n1\nx\n"), 0o600)
	os.WriteFile(filepath.Join(dir, "cgroup.events"), []byte(events), 0o600)
	return dir
}

func TestProcesses(t *testing.T) {
	pids, err := processes(group(t, ""))
	slices.Sort(pids)
	if d := cmp.Diff([]int{7, 12}, pids); d != "" || err != nil {
		t.Errorf("%v\n%s", err, d)
	}
	if pids, err := processes("/nowhere"); len(pids) != 0 || err != nil {
		t.Errorf("no group: %v, %v", pids, err)
	}
}

func TestWaitEmpty(t *testing.T) {
	if err := waitEmpty(t.Context(), group(t, "populated 0\nfrozen 0\n")); err != nil {
		t.Error(err)
	}
	if err := waitEmpty(t.Context(), "/nowhere"); err != nil {
		t.Errorf("no group: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	full := group(t, "populated 1\nfrozen 0\n")
	if err := waitEmpty(ctx, full); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("full group: %v, want %v", err, context.DeadlineExceeded)
	}
	if err := killGroup(t.Context(), "/nowhere"); err != nil {
		t.Errorf("no group: %v", err)
	}
}

// TestDownPhases: the plane is down before its container's stop timeout
// (40 s) ends it by force.
func TestDownPhases(t *testing.T) {
	var total time.Duration
	for _, p := range downPhases {
		if p.Deadline <= 0 {
			t.Errorf("phase %s has no deadline", p.Name)
		}
		total += p.Deadline
	}
	if total >= 40*time.Second {
		t.Errorf("phases take up to %v", total)
	}
}

// TestRunRefuses: a test is not the plane.
func TestRunRefuses(t *testing.T) {
	if err := Run(); !errors.Is(err, ErrNotHere) {
		t.Errorf("Run = %v, want %v", err, ErrNotHere)
	}
}
