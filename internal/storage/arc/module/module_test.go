package module

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/internal/storage/arc"
)

// kernel makes folders as the module does, with limits that it says it has.
func kernel(t *testing.T, minBytes, maxBytes uint64) Files {
	t.Helper()
	f := Files{Proc: t.TempDir(), Sys: t.TempDir()}
	stats := fmt.Sprintf("hits 4 1\nmisses 4 1\nsize 4 1\nc 4 1\nc_min 4 %d\nc_max 4 %d\n", minBytes, maxBytes)
	for path, text := range map[string]string{
		filepath.Join(f.Proc, "spl/kstat/zfs/arcstats"):           stats,
		filepath.Join(f.Sys, "module/zfs/parameters/zfs_arc_min"): "0\n",
		filepath.Join(f.Sys, "module/zfs/parameters/zfs_arc_max"): "0\n",
		filepath.Join(f.Proc, "pressure/memory"):                  "some avg10=3.00 avg60=0.00 avg300=0.00 total=0\n",
		filepath.Join(f.Proc, "meminfo"):                          "MemTotal:        4000000 kB\nMemFree:          100000 kB\nMemAvailable:     300000 kB\n",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func TestFiles(t *testing.T) {
	f := kernel(t, 32<<20, 512<<20)
	if err := f.SetLimits(arc.LimitsFor(512 << 20)); err != nil {
		t.Error(err)
	}
	got, err := os.ReadFile(filepath.Join(f.Sys, "module/zfs/parameters/zfs_arc_max"))
	if err != nil || strings.TrimSpace(string(got)) != "536870912" {
		t.Errorf("zfs_arc_max is %q, %v", got, err)
	}
	if err := f.SetLimits(arc.LimitsFor(256 << 20)); err == nil || !strings.Contains(err.Error(), "the module was told 33554432 and 268435456 bytes, and has 33554432 and 536870912") {
		t.Errorf("limits that were ignored: %v", err)
	}
	if p, err := f.Pressure(); err != nil || p.Some != 3 {
		t.Errorf("%+v, %v", p, err)
	}
	// A control group at its own limit waits, and the machine has plenty.
	if err := os.WriteFile(filepath.Join(f.Proc, "meminfo"), []byte("MemTotal: 4000000 kB\nMemAvailable: 1300000 kB\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if p, err := f.Pressure(); err != nil || p != (arc.Pressure{}) {
		t.Errorf("with plenty of memory: %+v, %v", p, err)
	}
	if _, err := (Files{Proc: t.TempDir()}).Stats(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without the module: %v", err)
	}
	if _, err := (Files{Proc: t.TempDir()}).Pressure(); !errors.Is(err, arc.ErrNoPressure) {
		t.Errorf("without pressure: %v", err)
	}
}
