package workload

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func FuzzProcesses(f *testing.F) {
	f.Add([]byte("1\n0\n4294967295\n"))
	f.Add([]byte("-1\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "cgroup.procs")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		pids, err := processes(path)
		if err != nil && pids != nil {
			t.Errorf("%q: got %v together with %v", text, pids, err)
		}
		if slices.Contains(pids, 0) {
			t.Errorf("%q: process 0 is listed, which stands for processes of other namespaces", text)
		}
	})
}
