package blockdev

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"slices"
	"strings"
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
	partitionedAt(t, path, 64<<20, sizeBytes, 34816, 69632)
}

// partitionedAt does it to an image of any size, with the sectors at which data begins and ends; state is before it, from the first MiB on.
func partitionedAt(t testing.TB, path string, madeBytes, sizeBytes int64, data, end uint64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(madeBytes); err != nil {
		t.Fatal(err)
	}
	table := &gpt.Table{
		LogicalSectorSize: sector, PhysicalSectorSize: sector, ProtectiveMBR: true,
		Partitions: []*gpt.Partition{
			{Index: 1, Start: 2048, End: data - 1, Type: gpt.LinuxFilesystem, Name: "state"},
			{Index: 2, Start: data, End: end - 1, Type: gpt.LinuxFilesystem, Name: "data"},
		},
	}
	if err := table.Write(f, madeBytes); err != nil {
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

// TestPowerCutLeavesOneTable cuts the power in each write of a grow, and in each of the grow that is tried again: one of both tables must be whole, name
// both partitions and be the one that is read. The grow that is not cut mends both.
func TestPowerCutLeavesOneTable(t *testing.T) {
	// Small, as it is copied for each cut. A table of 4 MiB with partitions in the second and third one.
	const size = 6 << 20
	path := t.TempDir() + "/disk"
	partitionedAt(t, path, 4<<20, size, 4096, 6144)
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// grow returns the disk after so many writes and the half of another; all are five. The first partition is given a name, so that each differs.
	grow := func(image []byte, writes int, name byte, what string) []byte {
		t.Helper()
		disk := &cut{data: slices.Clone(image), left: writes}
		table, err := readTable(bytes.NewReader(disk.data), sector, size)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if table.entry(1) == nil || table.entry(2) == nil {
			t.Fatalf("%s: a partition is gone", what)
		}
		if _, _, err := table.grow(2); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if err := table.identify(1, [16]byte{name}); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if err := table.write(disk, func() error { return nil }); (writes == 5) != (err == nil) || err != nil && !errors.Is(err, errCut) {
			t.Fatalf("%s: %v", what, err)
		}
		return disk.data
	}
	copies := 0
	for first := range 5 {
		once := grow(image, first, 1, "at first")
		if table, err := readTable(bytes.NewReader(once), sector, size); err == nil && table.fromCopy {
			copies++
		}
		for second := range 5 {
			what := fmt.Sprintf("cut after %d writes, and after %d", first, second)
			whole := grow(grow(once, second, 2, what), 5, 3, what)
			table, err := readTable(bytes.NewReader(whole), sector, size)
			if err != nil || table.fromCopy || table.growable(2) != 0 || table.uuid(1)[0] != 3 {
				t.Errorf("%s: in the end another table, %v", what, err)
			}
			// The copy is as good.
			clear(whole[sector : 2*sector])
			if table, err := readTable(bytes.NewReader(whole), sector, size); err != nil || !table.fromCopy || table.growable(2) != 0 || table.uuid(1)[0] != 3 {
				t.Errorf("%s: in the end another copy, %v", what, err)
			}
		}
	}
	if copies != 1 { // amid the entries; half of the block of the header is all of the header
		t.Errorf("the copy was needed after %d cuts, want 1", copies)
	}
}

// TestBothTablesAreDamaged: what is wrong with either is said.
func TestBothTablesAreDamaged(t *testing.T) {
	const size = 64 << 20
	path := t.TempDir() + "/disk"
	partitioned(t, path, size)
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	clear(image[sector : 2*sector])
	crowded := slices.Clone(image)
	h := crowded[size-sector:]
	binary.LittleEndian.PutUint64(h[40:], 33)
	binary.LittleEndian.PutUint32(h[16:], headerSum(h))
	if _, err := readTable(bytes.NewReader(crowded), sector, size); err == nil || !strings.Contains(err.Error(), "begin in block 33") {
		t.Errorf("a partition may be where the primary table belongs: %v", err)
	}
	image[size-sector+100]++ // behind the header
	if _, err := readTable(bytes.NewReader(image), sector, size); err != nil {
		t.Errorf("a byte that belongs to nothing: %v", err)
	}
	image[size-sector+20]++
	_, err = readTable(bytes.NewReader(image), sector, size)
	if want := "read partition table: no GPT header in block 1; its copy: wrong checksum of the header"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func FuzzTable(f *testing.F) {
	image := fuzzImage(f)
	f.Add(image[:34*sector])
	f.Fuzz(func(t *testing.T, data []byte) {
		disk := make([]byte, fuzzBytes)
		copy(disk, data)
		fuzzTable(t, disk, 1)
	})
}

// FuzzTableCopy puts anything where the copy of the table is; the primary one is gone.
func FuzzTableCopy(f *testing.F) {
	image := fuzzImage(f)
	seed := image[len(image)-33*sector:]
	h := seed[32*sector:]
	binary.LittleEndian.PutUint64(h[24:], fuzzBytes/sector-1)
	binary.LittleEndian.PutUint64(h[72:], fuzzBytes/sector-33)
	f.Add(seed)
	f.Fuzz(func(t *testing.T, data []byte) {
		disk := make([]byte, fuzzBytes)
		copy(disk[fuzzBytes-min(len(data), fuzzBytes):], data[len(data)-min(len(data), fuzzBytes):])
		fuzzTable(t, disk, fuzzBytes/sector-1)
	})
}

// fuzzBytes is the size of a disk of the fuzz tests.
const fuzzBytes = 1 << 20

func fuzzImage(f *testing.F) []byte {
	f.Helper()
	path := f.TempDir() + "/disk"
	partitioned(f, path, 64<<20)
	image, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	return image
}

// fuzzTable reads a table whose header is in a block, and changes and writes it if it is one.
func fuzzTable(t *testing.T, disk []byte, block int) {
	t.Helper()
	const size = fuzzBytes
	if h := disk[block*sector : (block+1)*sector]; binary.LittleEndian.Uint32(h[12:]) >= gptHeaderBytes && binary.LittleEndian.Uint32(h[12:]) <= sector {
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
	if table.fromCopy != (block != 1) {
		t.Errorf("a table in block %d is taken for the other one", block)
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
}
