package blockdev

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"slices"
	"testing"

	"github.com/diskfs/go-diskfs/partition/gpt"
)

func setChecksum(sb []byte) {
	binary.LittleEndian.PutUint32(sb[superblockSumOffset:], ^crc32.Update(0, crc32.MakeTable(crc32.Castagnoli), sb[:superblockSumOffset]))
}

const sector = 512

// partitioned writes a table with partitions state and data to an image of 64 MiB and then enlarges the image.
func partitioned(t testing.TB, path string, sizeBytes int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(64 << 20); err != nil {
		t.Fatal(err)
	}
	table := &gpt.Table{
		LogicalSectorSize: sector, PhysicalSectorSize: sector, ProtectiveMBR: true,
		Partitions: []*gpt.Partition{
			{Index: 1, Start: 2048, End: 34815, Type: gpt.LinuxFilesystem, Name: "state"},
			{Index: 2, Start: 34816, End: 69631, Type: gpt.LinuxFilesystem, Name: "data"},
		},
	}
	if err := table.Write(f, 64<<20); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(sizeBytes); err != nil {
		t.Fatal(err)
	}
}

func TestGrow(t *testing.T) {
	const size = 256 << 20
	path := t.TempDir() + "/disk"
	partitioned(t, path, size)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	table, err := readTable(f, sector, size)
	if err != nil {
		t.Fatal(err)
	}
	if got := table.growable(1); got != 0 {
		t.Errorf("partition 1, which is not the last, can grow by %d", got)
	}
	// 256 MiB less the last MiB, which holds the copy of the table.
	const wantGrow = (255 << 20) - 69632*sector
	if got := table.growable(2); got != wantGrow {
		t.Errorf("partition 2 can grow by %d, want %d", got, wantGrow)
	}
	start, bytes, err := table.grow(2)
	if err != nil || start != 34816*sector || start+bytes != 255<<20 {
		t.Errorf("grow: start %d, size %d, %v", start, bytes, err)
	}
	if err := table.write(f, f.Sync); err != nil {
		t.Fatal(err)
	}
	again, err := readTable(f, sector, size)
	if err != nil || again.growable(2) != 0 {
		t.Errorf("read again: %v", err)
	}
	checkWithLibrary(t, f)
	if _, _, err := again.grow(3); err == nil {
		t.Error("a partition that is not there was grown")
	}
}

// checkWithLibrary reads both tables with another implementation.
func checkWithLibrary(t *testing.T, f *os.File) {
	t.Helper()
	got, err := gpt.Read(f, sector, sector)
	if err != nil {
		t.Fatalf("read by go-diskfs: %v", err)
	}
	if p := got.Partitions[1]; p.Name != "data" || p.Start != 34816 || p.End != (255<<20)/sector-1 {
		t.Errorf("partition 2 by go-diskfs: %+v", p)
	}
	if err := got.Verify(f, 256<<20); err != nil {
		t.Errorf("verify by go-diskfs: %v", err)
	}
}

// cut is a disk that loses its power after some writes.
type cut struct {
	data []byte
	left int
}

var errCut = errors.New("power cut")

func (c *cut) WriteAt(p []byte, at int64) (int, error) {
	if c.left == 0 {
		return copy(c.data[at:], p[:len(p)/2]), errCut
	}
	c.left--
	return copy(c.data[at:], p), nil
}

// TestPowerCutLeavesOneTable cuts the power in each write of a grow: one of both tables must be whole, and name both partitions.
func TestPowerCutLeavesOneTable(t *testing.T) {
	const size = 96 << 20
	path := t.TempDir() + "/disk"
	partitioned(t, path, size)
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for writes := range 5 {
		disk := &cut{data: slices.Clone(image), left: writes}
		table, err := readTable(bytes.NewReader(disk.data), sector, size)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := table.grow(2); err != nil {
			t.Fatal(err)
		}
		if err := table.write(disk, func() error { return nil }); !errors.Is(err, errCut) {
			t.Fatalf("cut after %d writes: %v", writes, err)
		}
		if _, err := readTable(bytes.NewReader(disk.data), sector, size); err == nil {
			continue
		}
		// As the firmware does: put the copy in the place of the primary table.
		last := uint64(size/sector - 1)
		header := slices.Clone(disk.data[last*sector : (last+1)*sector])
		at := binary.LittleEndian.Uint64(header[72:])
		copy(disk.data[2*sector:], disk.data[at*sector:last*sector])
		binary.LittleEndian.PutUint64(header[24:], 1)
		binary.LittleEndian.PutUint64(header[72:], 2)
		if crc := headerSum(disk.data[last*sector:]); crc != binary.LittleEndian.Uint32(header[16:]) {
			t.Errorf("cut after %d writes: both headers are damaged", writes)
		}
		binary.LittleEndian.PutUint32(header[16:], headerSum(header))
		copy(disk.data[sector:], header)
		if restored, err := readTable(bytes.NewReader(disk.data), sector, size); err != nil || restored.entry(2) == nil {
			t.Errorf("cut after %d writes: neither table is whole: %v", writes, err)
		}
	}
}

func FuzzTable(f *testing.F) {
	path := f.TempDir() + "/disk"
	partitioned(f, path, 64<<20)
	image, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(image[:34*sector])
	f.Fuzz(func(t *testing.T, data []byte) {
		const size = 1 << 20
		disk := make([]byte, size)
		copy(disk, data)
		if h := disk[sector : 2*sector]; binary.LittleEndian.Uint32(h[12:]) >= gptHeaderBytes && binary.LittleEndian.Uint32(h[12:]) <= sector {
			// Let the fuzzer past the checksums.
			at, length := binary.LittleEndian.Uint64(h[72:]), uint64(binary.LittleEndian.Uint32(h[80:]))*uint64(binary.LittleEndian.Uint32(h[84:]))
			if at < size/sector && length <= size-at*sector {
				binary.LittleEndian.PutUint32(h[88:], crc32.ChecksumIEEE(disk[at*sector:at*sector+length]))
			}
			binary.LittleEndian.PutUint32(h[16:], headerSum(h))
		}
		table, err := readTable(bytes.NewReader(disk), sector, size)
		if err != nil {
			return
		}
		for n := range 4 {
			table.growable(n)
			if _, _, err := table.grow(n); err == nil && table.growable(n) != 0 {
				t.Errorf("partition %d can grow again", n)
			}
		}
		w := &cut{data: make([]byte, size), left: 5}
		if err := table.write(w, func() error { return nil }); err != nil {
			t.Errorf("write: %v", err)
		}
	})
}
