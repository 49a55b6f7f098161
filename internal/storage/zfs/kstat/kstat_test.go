package kstat_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/zfs/kstat"
)

func TestPools(t *testing.T) {
	proc := t.TempDir()
	check := func(name string, want ...string) {
		t.Helper()
		got, err := kstat.Pools(proc)
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, d)
		}
		imported, err := kstat.Imported(proc, "node")
		if imported != (len(want) > 0) || err != nil {
			t.Errorf("%s: node is imported: %t, %v", name, imported, err)
		}
	}
	check("without the module")
	dir := kstat.Dir(proc)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "arcstats"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	check("without a pool")
	add := func(pool string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(dir, pool), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	add("$import-ffff8881-node")
	check("while one is looked at")
	add("tank")
	add("node")
	check("with two pools", "node", "tank")
}

// TestUnreadable: not to know is not to have none.
func TestUnreadable(t *testing.T) {
	proc := t.TempDir()
	if err := os.MkdirAll(filepath.Dir(kstat.Dir(proc)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(kstat.Dir(proc), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if names, err := kstat.Pools(proc); err == nil {
		t.Errorf("got %q and no error", names)
	}
	if imported, err := kstat.Imported(proc, "node"); err == nil || imported {
		t.Errorf("got %t, %v", imported, err)
	}
}
