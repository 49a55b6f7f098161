package blockdev

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/diskfs/go-diskfs/partition/gpt"
)

func TestPoolTable(t *testing.T) {
	const size = 100<<20 + 512
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, bytes.Repeat([]byte{7}, size), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := OpenWhole(path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.wipe(t.Context(), w.Discard); err != nil {
		t.Fatal(err)
	}
	if err := w.writePoolTable(); err != nil {
		t.Fatal(err)
	}
	table, err := gpt.Read(w.File, sector, sector)
	if err != nil {
		t.Fatal(err)
	}
	p := table.Partitions[0]
	if p.Name != poolPartition || string(p.Type) != "6A898CC3-1DD2-11B2-99A6-080020736631" || p.Start != 2048 || p.End%2048 != 2047 || p.End < 2048*98 {
		t.Errorf("%+v", p)
	}
	if own, err := readTable(w, sector, size); err != nil || own.fromCopy || own.primaryEntries != 2 {
		t.Fatalf("the primary table, read back: %+v, %v", own, err)
	}
	check := func(what string, wantBlank bool, grows bool) {
		t.Helper()
		info, err := w.Stat()
		if err != nil {
			t.Fatal(err)
		}
		prepared, blank, growable, err := PreparedForPool(w, sector, uint64(info.Size()))
		if err != nil || !prepared || blank != wantBlank || (growable > 0) != grows {
			t.Errorf("%s: prepared %t, blank %t, grows by %d, %v", what, prepared, blank, growable, err)
		}
	}
	check("fresh", true, false)
	if err := w.Truncate(size + 64<<20); err != nil {
		t.Fatal(err)
	}
	check("on a larger disk", true, true)
	if _, err := w.WriteAt([]byte{1}, int64(p.End+1)*sector-5); err != nil {
		t.Fatal(err)
	}
	check("written to", false, true)
	if prepared, _, _, err := PreparedForPool(bytes.NewReader(make([]byte, 1<<20)), sector, 1<<20); prepared || err != nil {
		t.Errorf("a blank disk is prepared: %t, %v", prepared, err)
	}
	if _, err := newPoolTable(sector, 10<<20, [16]byte{}, [16]byte{}); err == nil {
		t.Error("a disk of 10 MiB passes")
	}
}

// TestPoolTableOfOthers: a disk with a partition of ZFS that is empty, and another one anywhere in its table, is none that was prepared.
func TestPoolTableOfOthers(t *testing.T) {
	const size = 100 << 20
	for _, number := range []int{2, 3, 128} {
		path := filepath.Join(t.TempDir(), "disk")
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		w, err := OpenWhole(path, true)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if err := w.writePoolTable(); err != nil {
			t.Fatal(err)
		}
		own, err := readTable(w, sector, size)
		if err != nil {
			t.Fatal(err)
		}
		first := own.entry(1)
		other := own.entries[(number-1)*own.entryBytes : number*own.entryBytes]
		copy(other, first)
		other[0]++ // another type
		binary.LittleEndian.PutUint64(first[entryLastBlock:], 2048*50-1)
		binary.LittleEndian.PutUint64(other[entryFirstBlock:], 2048*50)
		if err := own.write(w, w.Sync); err != nil {
			t.Fatal(err)
		}
		if prepared, blank, growable, err := PreparedForPool(w, sector, size); prepared || blank || growable != 0 || err != nil {
			t.Errorf("partitions 1 and %d: prepared %t, blank %t, grows by %d, %v", number, prepared, blank, growable, err)
		}
	}
}

// TestPreparePool: a disk that is prepared is not wiped again, and one that was written to since is.
func TestPreparePool(t *testing.T) {
	const size = 100 << 20
	device := filepath.Join(t.TempDir(), "vdq")
	for path, n := range map[string]int64{device: size, device + "1": 0} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, n); err != nil {
			t.Fatal(err)
		}
	}
	w, err := OpenShared(device, true)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	d := New(Tools{}, t.TempDir())
	prepare := func() [16]byte {
		t.Helper()
		if partition, err := d.PreparePool(t.Context(), device, 0); err != nil || partition != device+"1" {
			t.Fatalf("%s, %v", partition, err)
		}
		own, err := readTable(w, sector, size)
		if err != nil {
			t.Fatal(err)
		}
		return [16]byte(own.header[56:]) // the disk's GUID, which is made anew with each table
	}
	if _, err := d.PreparePool(t.Context(), device, 1); !errors.Is(err, ErrOtherDisk) {
		t.Errorf("another disk than it was: %v, want %v", err, ErrOtherDisk)
	}
	if _, err := readTable(w, sector, size); err == nil {
		t.Error("another disk than it was got a table")
	}
	first := prepare()
	if prepare() != first {
		t.Error("a disk that is prepared was prepared again")
	}
	if _, err := w.WriteAt([]byte("something"), 1<<20); err != nil {
		t.Fatal(err)
	}
	if prepare() == first {
		t.Error("a disk that was written to was left as it is")
	}
	if prepared, blank, _, err := PreparedForPool(w, sector, size); !prepared || !blank || err != nil {
		t.Errorf("prepared %t, blank %t, %v", prepared, blank, err)
	}
}

func TestPoolDevice(t *testing.T) {
	for device, want := range map[string]string{"/dev/sdb": "/dev/sdb1", "/dev/nvme0n1": "/dev/nvme0n1p1", "/dev/vda": "/dev/vda1"} {
		if got := poolDevice(device); got != want {
			t.Errorf("%s has %s, want %s", device, got, want)
		}
	}
}

// TestVMPreparePool: the kernel shows the partition without udev, and it can be made again.
func TestVMPreparePool(t *testing.T) {
	device := scratch(t)
	d := New(Tools{}, t.TempDir())
	held, err := Hold(device)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if held.Sequence == 0 {
		t.Error("the kernel has no number of the disk")
	}
	if _, err := d.PreparePool(t.Context(), device, held.Sequence+1); !errors.Is(err, ErrOtherDisk) {
		t.Errorf("another disk than it was: %v, want %v", err, ErrOtherDisk)
	}
	for range 2 {
		partition, err := d.PreparePool(t.Context(), device, held.Sequence)
		if err != nil {
			t.Fatal(err)
		}
		if partition != poolDevice(device) {
			t.Errorf("partition %s", partition)
		}
		list, err := d.Partitions(t.Context(), device)
		if err != nil || len(list) != 1 || list[0].Name != poolPartition || list[0].Device != partition || list[0].GrowableBytes != 0 {
			t.Errorf("%+v, %v", list, err)
		}
		w, err := OpenShared(device, true)
		if err != nil {
			t.Fatal(err)
		}
		prepared, blank, _, err := PreparedForPool(w, uint64(w.SectorBytes), uint64(w.SizeBytes))
		if err != nil || !prepared || !blank {
			t.Errorf("prepared %t, blank %t, %v", prepared, blank, err)
		}
		if _, err := w.WriteAt([]byte("remains"), 2<<20); err != nil {
			t.Error(err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
}
