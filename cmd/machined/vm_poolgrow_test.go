package main

import (
	"errors"
	"io"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/storage/disk"
	"github.com/cyvive/cyvive/internal/storage/pool"
)

// shrinkLeaf leaves a disk that was made ready for a pool a partition of 128 MiB, as on a disk that was smaller once.
func (l *poolLab) shrinkLeaf(leaf string) {
	l.t.Helper()
	f, err := os.OpenFile(l.scratch, os.O_RDWR, 0)
	l.must(err)
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	l.must(err)
	const mib = 2048 // sectors
	table := &gpt.Table{
		LogicalSectorSize: 512, PhysicalSectorSize: 512, ProtectiveMBR: true,
		Partitions: []*gpt.Partition{{Index: 1, Start: mib, End: 129*mib - 1, Type: "6A898CC3-1DD2-11B2-99A6-080020736631", Name: "cyvive-pool"}},
	}
	l.must(table.Write(f, size))
	l.must(errors.Join(f.Sync(), unix.IoctlSetInt(int(f.Fd()), unix.BLKRRPART, 0)))
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err := os.Stat(leaf); err == nil {
			return
		} else if time.Now().After(end) {
			l.t.Fatalf("waited for 10 s for the device of the partition: %v", err)
		}
	}
}

// TestVMPoolGrows: the partition of a pool that is in use grows to the end of its disk, and the pool with it, by itself.
func TestVMPoolGrows(t *testing.T) {
	l := newPoolLab(t)
	ctx := t.Context()
	d := l.disk()
	leaf, err := l.disks.Prepare(ctx, d, false)
	l.must(err)
	l.shrinkLeaf(leaf)
	l.must(l.Control.Create(ctx, pool.Creation{
		Pool: "tank", Groups: []pool.Group{{Devices: []string{leaf}}}, Properties: map[string]string{"compatibility": pool.Compatibility, "autotrim": "on"},
		FileSystem: map[string]string{"mountpoint": "none", "canmount": "off"},
	}))
	size := func() uint64 {
		t.Helper()
		pools, err := l.Control.Pools(ctx)
		l.must(err)
		if len(pools) != 1 || pools[0].State != pool.Online {
			t.Fatalf("pools: %+v", pools)
		}
		return pools[0].SizeBytes
	}
	before := size()
	if member := l.disk(); before > 128<<20 || member.Label == nil || member.GrowableBytes < 128<<20 {
		t.Fatalf("a pool of %d bytes on %+v", before, member)
	}
	done, _ := l.converge(pool.Spec{Pools: []pool.PoolSpec{{
		Name: "tank", Vdevs: []pool.VdevSpec{{Disks: []disk.Selector{{Serial: d.Serial, WWN: d.WWN, Path: d.Path}}}},
	}}})
	if !slices.Contains(done, string(pool.GrowDevice)) {
		t.Errorf("done %q, want that the device grows", done)
	}
	// A thread of the kernel adds the room behind that (spa_async_thread in module/zfs/spa.c, OpenZFS 2.3.9).
	for end := time.Now().Add(time.Minute); size() < 2*before; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for a minute until the pool has twice its %d bytes, and it has %d", before, size())
		}
	}
	if grown := l.disk(); grown.GrowableBytes != 0 {
		t.Errorf("the disk has %d bytes more for its partition", grown.GrowableBytes)
	}
}
