package boot

import (
	"os"
	"path/filepath"
	"testing"
)

func TestHavePools(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "zfs")
	check := func(name string, want bool) {
		t.Helper()
		if got, err := havePools(dir); err != nil || got != want {
			t.Errorf("%s: %t, %v; want %t", name, got, err, want)
		}
	}
	check("without the module", false)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "arcstats"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	check("without a pool", false)
	if err := os.Mkdir(filepath.Join(dir, "node"), 0o755); err != nil {
		t.Fatal(err)
	}
	check("with a pool", true)
}
