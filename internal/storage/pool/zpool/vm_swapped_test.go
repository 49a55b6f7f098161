package zpool_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/storage/disk"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// TestVMSwapped: two pools whose disks have changed places are imported for what is on them, and not from where they were; what is declared otherwise is told, and
// nothing is done about it.
func TestVMSwapped(t *testing.T) {
	longOnly(t)
	z := vm(t)
	ctx := t.Context()
	f := &folder{t: t, dir: t.TempDir(), memory: map[string]zfs.GUID{}}
	files(t, f.dir, "d1", "d2")
	r := pool.New(z, f, f, time.Now)
	spec := pool.Spec{}
	for name, serial := range map[string]string{"first": "d1", "second": "d2"} {
		spec.Pools = append(spec.Pools, pool.PoolSpec{Name: name, Vdevs: []pool.VdevSpec{{Disks: []disk.Selector{{Serial: serial}}}}})
	}
	settle := func() pool.Status {
		t.Helper()
		for range 10 {
			obs, err := r.Observe(ctx, spec)
			must(t, err)
			ops := r.Diff(spec, obs)
			if len(ops) == 0 {
				return r.Status(spec, obs)
			}
			for _, o := range ops {
				must(t, r.Apply(ctx, spec, o))
			}
		}
		t.Fatal("it does not settle")
		return pool.Status{}
	}
	guids := map[string]zfs.GUID{}
	for _, p := range settle().Pools {
		if guids[p.Name] = p.GUID; len(p.Conditions) > 0 {
			t.Fatalf("as they were made: %+v", p)
		}
	}
	must(t, errors.Join(z.Export(ctx, "first"), z.Export(ctx, "second")))
	d1, d2, aside := filepath.Join(f.dir, "d1"), filepath.Join(f.dir, "d2"), filepath.Join(t.TempDir(), "aside")
	must(t, errors.Join(os.Rename(d1, aside), os.Rename(d2, d1), os.Rename(aside, d2)))
	for _, p := range settle().Pools {
		if !p.Imported || p.GUID != guids[p.Name] || p.Pool.State != pool.Online {
			t.Errorf("with the disks in each other's place: %+v, want the pool %s", p, guids[p.Name])
		}
		if !slices.ContainsFunc(p.Conditions, func(c pool.Condition) bool { return c.Kind == pool.DiskSwapped }) {
			t.Errorf("conditions of pool %s: %+v, want one of disks that are swapped", p.Name, p.Conditions)
		}
	}
}
