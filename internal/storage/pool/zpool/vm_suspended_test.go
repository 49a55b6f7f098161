package zpool_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/storage/disk"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// TestVMSuspended: a pool whose only device takes nothing any more stops, and says so. It is told of with what to do, nothing is done to it, and other pools go on. Once the
// device is well, and its errors are cleared, what waited is written.
func TestVMSuspended(t *testing.T) {
	longOnly(t)
	z := vm(t)
	ctx := t.Context()
	// A file for which its file system has no more room is a disk that returns errors.
	f := &folder{t: t, dir: t.TempDir(), memory: map[string]zfs.GUID{}}
	room := func(size string, flags uintptr) error {
		return unix.Mount("tmpfs", f.dir, "tmpfs", flags, "size="+size)
	}
	must(t, room("16m", 0))
	files(t, f.dir, "d1")
	spec := pool.Spec{Pools: []pool.PoolSpec{{Name: "starved", Vdevs: []pool.VdevSpec{{Disks: []disk.Selector{{Serial: "d1"}}}}}}}
	must(t, z.Create(ctx, pool.Creation{
		Pool: "starved", Groups: []pool.Group{{Devices: []string{filepath.Join(f.dir, "d1")}}},
		Properties: map[string]string{"compatibility": pool.Compatibility, "autotrim": "on"}, FileSystem: map[string]string{"mountpoint": "legacy", "compression": "off"},
	}))
	target := t.TempDir()
	must(t, unix.Mount("starved", target, "zfs", 0, ""))
	f.memory["starved"] = one(t, z, "starved").GUID
	written := make(chan error, 1)
	goOn := func() error {
		return errors.Join(room("256m", unix.MS_REMOUNT), z.Clear(context.Background(), "starved", ""))
	}
	t.Cleanup(func() { // the pool has to go on to be gone, and be gone before what its device lies on
		for _, do := range []func() error{
			goOn, func() error { return unix.Unmount(target, 0) }, func() error { return z.Destroy(context.Background(), "starved") },
			func() error { return unix.Unmount(f.dir, 0) },
		} {
			if err := do(); err != nil {
				t.Error(err)
			}
		}
	})
	go func() { written <- writeNoise(filepath.Join(target, "file"), 48<<20) }()
	eventually(t, "the pool stops all I/O", func() bool {
		size, err := z.Size(ctx, "starved")
		must(t, err)
		return size.State == pool.Suspended
	})

	r := pool.New(z, f, f, time.Now)
	obs, err := r.Observe(ctx, spec)
	must(t, err)
	if ops := r.Diff(spec, obs); len(ops) > 0 {
		t.Errorf("done to a pool that is suspended: %v", ops)
	}
	s := r.Status(spec, obs)
	if p := s.Pools[0]; s.Ready || p.Healthy || !p.Imported || p.Pool.Properties["failmode"].Value != "wait" || len(p.Conditions) != 1 || p.Conditions[0].Kind != pool.IOSuspended ||
		!strings.Contains(p.Summary, "All I/O has stopped") || !strings.Contains(p.Next, "clear the pool's errors") {
		t.Errorf("status: %+v", s)
	}
	for what, err := range map[string]error{
		// No scrub: that is not refused, and waits (ZFS_IOC_POOL_SCRUB in module/zfs/zfs_ioctl.c, 2.3.9).
		"set":     z.Set(ctx, "starved", "comment", "x"),
		"online":  z.Online(ctx, "starved", filepath.Join(f.dir, "d1"), false),
		"offline": z.Offline(ctx, "starved", filepath.Join(f.dir, "d1"), false),
	} {
		if !errors.Is(err, zfs.ErrSuspended) {
			t.Errorf("%s: %v, want class %q", what, err, zfs.ErrSuspended)
		}
	}
	must(t, z.Create(ctx, pool.Creation{Pool: "beside", Groups: []pool.Group{{Devices: files(t, t.TempDir(), "a")}}}))
	must(t, z.Scrub(ctx, "beside"))
	wait(t, "beside", "scrub")
	must(t, z.Destroy(ctx, "beside"))

	must(t, goOn())
	select {
	case err := <-written:
		must(t, err)
	case <-time.After(2 * time.Minute):
		t.Fatal("waited for two minutes until what was to be written is, since the errors were cleared")
	}
	if size, err := z.Size(ctx, "starved"); err != nil || size.State != pool.Online {
		t.Errorf("once its device is well: %+v, %v", size, err)
	}
	if info, err := os.Stat(filepath.Join(target, "file")); err != nil || info.Size() != 48<<20 {
		t.Errorf("what waited: %+v, %v", info, err)
	}
}

// writeNoise writes a file that does not compress, until it has so many bytes or there is no room, and waits until that is on the disk.
func writeNoise(path string, bytes int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	noise, part := rand.NewChaCha8([32]byte{1}), make([]byte, 256<<10)
	for n := 0; n < bytes && err == nil; n += len(part) {
		_, _ = noise.Read(part) // it never fails
		_, err = f.Write(part)
	}
	return errors.Join(err, f.Sync(), f.Close())
}
