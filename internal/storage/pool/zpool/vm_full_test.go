package zpool_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/storage/disk"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/command"
)

// TestVMFull: in a declared pool that is full, writes fail, and nothing else: it is as it is declared, is scrubbed, and has room again when a snapshot is destroyed.
func TestVMFull(t *testing.T) {
	longOnly(t)
	z := vm(t)
	ctx := t.Context()
	f := &folder{t: t, dir: t.TempDir(), memory: map[string]zfs.GUID{}}
	files(t, f.dir, "d1")
	spec := pool.Spec{Pools: []pool.PoolSpec{{Name: "tank", Vdevs: []pool.VdevSpec{{Disks: []disk.Selector{{Serial: "d1"}}}}}}}
	r := pool.New(z, f, f, time.Now)
	settle := func(what string) pool.PoolStatus {
		t.Helper()
		for range 5 {
			obs, err := r.Observe(ctx, spec)
			must(t, err)
			ops := r.Diff(spec, obs)
			if len(ops) == 0 {
				return r.Status(spec, obs).Pools[0]
			}
			for _, o := range ops {
				must(t, r.Apply(ctx, spec, o))
			}
		}
		t.Fatalf("%s: it does not settle", what)
		return pool.PoolStatus{}
	}
	settle("make")
	datasets := command.NewSystem(command.Runner{ZFSPath: "/usr/bin/zfs", ZpoolPath: programPath})
	must(t, datasets.Create(ctx, "tank/data", zfs.CreateOptions{Properties: map[string]string{"mountpoint": "legacy", "compression": "off"}}))
	target := t.TempDir()
	must(t, unix.Mount("tank/data", target, "zfs", 0, ""))
	t.Cleanup(func() {
		if err := unix.Unmount(target, 0); err != nil {
			t.Error(err)
		}
	})
	write := func(name string, bytes int) error { return writeNoise(filepath.Join(target, name), bytes) }
	const much = 16 << 20
	must(t, write("old", much))
	must(t, datasets.Snapshot(ctx, []string{"tank/data@old"}, nil))
	must(t, os.Remove(filepath.Join(target, "old")))
	if err := write("filler", 4*deviceBytes); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("written more than the pool has: %v, want %v", err, unix.ENOSPC)
	}
	if err := write("more", much); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("written to a pool that is full: %v, want %v", err, unix.ENOSPC)
	}
	if p := settle("full"); !p.Imported || p.Pool.State != pool.Online || len(p.Conditions)+len(p.Waiting) > 0 || p.Pool.DataErrors > 0 {
		t.Errorf("full: %+v", p)
	}
	spec.Pools[0].Properties = map[string]string{"autotrim": "off"}
	settle("another property, while it is full")
	must(t, z.Scrub(ctx, "tank"))
	wait(t, "tank", "scrub")
	must(t, datasets.DestroySnapshots(ctx, []string{"tank/data@old"}))
	// What the snapshot held is freed behind it.
	eventually(t, "there is room for what the snapshot held", func() bool {
		err := write("more", much/2)
		if err != nil && !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
		return err == nil
	})
	if s := one(t, z, "tank").Scan; s.Function != pool.Scrub || s.Errors > 0 {
		t.Errorf("scrub of a full pool: %+v", s)
	}
}
