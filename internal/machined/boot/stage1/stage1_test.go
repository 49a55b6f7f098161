package stage1

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/siderolabs/go-blockdevice/v2/partitioning/gpt"

	"github.com/cyvive/cyvive/internal/machined/boot/marker"
)

// testHash has the halves 00010203-… and 10111213-….
func testHash() (hash [32]byte) {
	for i := range hash {
		hash[i] = byte(i)
	}
	return hash
}

func TestHalves(t *testing.T) {
	root, verity := halves(testHash())
	if got, want := root.String(), "00010203-0405-0607-0809-0a0b0c0d0e0f"; got != want {
		t.Errorf("root = %s, want %s", got, want)
	}
	if got, want := verity.String(), "10111213-1415-1617-1819-1a1b1c1d1e1f"; got != want {
		t.Errorf("verity = %s, want %s", got, want)
	}
}

func TestFindPair(t *testing.T) {
	rootID, verityID := halves(testHash())
	other, esp := uuid.MustParse("deadbeef-0000-0000-0000-000000000000"), uuid.MustParse("c0ffee00-0000-0000-0000-000000000000")
	a := partition{"vda", "vda2", "root-a", rootID}
	b := partition{"vda", "vda4", "root-b", rootID}
	v := partition{"vda", "vda3", "verity-a", verityID}
	second := pair{partition{"vdb", "vdb2", "root-a", rootID}, partition{"vdb", "vdb3", "verity-a", verityID}}
	firstESP, secondESP := partition{"vda", "vda1", "esp", other}, partition{"vdb", "vdb1", "esp", esp}
	tests := map[string]struct {
		list     []partition
		esp      uuid.UUID
		want     pair
		slot     string
		sure, ok bool
	}{
		"slot a":           {[]partition{firstESP, a, v}, uuid.Nil, pair{a, v}, "a", true, true},
		"slot b":           {[]partition{v, b}, uuid.Nil, pair{b, v}, "b", true, true},
		"no root":          {[]partition{v}, uuid.Nil, pair{}, "", false, false},
		"no verity":        {[]partition{a}, uuid.Nil, pair{}, "", false, false},
		"on another disk":  {[]partition{a, {"vdb", "vdb3", "verity-a", verityID}}, uuid.Nil, pair{}, "", false, false},
		"nothing":          {nil, uuid.Nil, pair{}, "", false, false},
		"of two the first": {[]partition{firstESP, a, v, secondESP, second.Root, second.Verity}, uuid.Nil, pair{a, v}, "a", true, true},
		"beside the boot partition": {
			[]partition{firstESP, a, v, secondESP, second.Root, second.Verity}, esp, second, "a", true, true,
		},
		"before that disk is there":       {[]partition{firstESP, a, v}, esp, pair{a, v}, "a", false, true},
		"before all of that disk is":      {[]partition{firstESP, a, v, secondESP, second.Root}, esp, pair{a, v}, "a", false, true},
		"a boot partition without a pair": {[]partition{secondESP}, esp, pair{}, "", false, false},
	}
	for name, test := range tests {
		got, sure, ok := findPair(test.list, testHash(), test.esp)
		if d := cmp.Diff(test.want, got); d != "" || ok != test.ok || sure != test.sure || got.slot() != test.slot {
			t.Errorf("%s: ok %v, sure %v, slot %q\n%s", name, ok, sure, got.slot(), d)
		}
	}
}

// TestMedium: with the disk of an installation medium in memory, the same root on another disk does not count, whatever partition the kernel image was started
// from, and what runs has no slot.
func TestMedium(t *testing.T) {
	rootID, verityID := halves(testHash())
	installed := pair{partition{"vda", "vda2", "root-a", rootID}, partition{"vda", "vda3", "verity-a", verityID}}
	inMemory := pair{partition{"loop0", "loop0p2", "root-a", rootID}, partition{"loop0", "loop0p3", "verity-a", verityID}}
	all := func() []partition {
		return []partition{installed.Root, installed.Verity, inMemory.Root, inMemory.Verity}
	}
	if d := cmp.Diff(all(), ofDisk(all(), "")); d != "" {
		t.Errorf("without a medium (-want +got):\n%s", d)
	}
	if got, _, ok := findPair(ofDisk(all()[:2], "loop0"), testHash(), uuid.Nil); ok {
		t.Errorf("before its disk is there: got %v", got)
	}
	got, sure, ok := findPair(ofDisk(all(), "loop0"), testHash(), uuid.Nil)
	if d := cmp.Diff(inMemory, got); d != "" || !sure || !ok {
		t.Errorf("sure %t, found %t (-want +got):\n%s", sure, ok, d)
	}
	hash := fmt.Sprintf("%x", testHash())
	for want, p := range map[marker.Marker]pair{
		{RootHash: hash, Slot: "a", RootPartition: "vda2", Disk: "vda"}:         installed,
		{RootHash: hash, RootPartition: "loop0p2", Disk: "loop0", Medium: true}: inMemory,
	} {
		if d := cmp.Diff(want, mark(p, testHash(), p == inMemory)); d != "" {
			t.Errorf("marker (-want +got):\n%s", d)
		}
	}
}

func TestDescribe(t *testing.T) {
	id := uuid.MustParse("deadbeef-0000-0000-0000-000000000000")
	if got, want := describe(nil), "no partition at all"; got != want {
		t.Errorf("describe() = %q, want %q", got, want)
	}
	got := describe([]partition{{"vda", "vda1", "esp", id}, {"vda", "vda2", "root-a", id}})
	want := "vda1 (esp, deadbeef-0000-0000-0000-000000000000); vda2 (root-a, deadbeef-0000-0000-0000-000000000000)"
	if got != want {
		t.Errorf("describe() = %q, want %q", got, want)
	}
}

const testDiskBytes = 16 << 20

// fakeDisk makes a disk file with a GPT, and the directories that the kernel
// would show for it.
func fakeDisk(t *testing.T) (sys, dev string, f *os.File) {
	t.Helper()
	sys, dev = filepath.Join(t.TempDir(), "block"), t.TempDir()
	f, err := os.Create(filepath.Join(dev, "vda"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(testDiskBytes); err != nil {
		t.Fatal(err)
	}
	table, err := gpt.New(&disk{File: f, sizeBytes: testDiskBytes, sectorBytes: 512})
	if err != nil {
		t.Fatal(err)
	}
	rootID, verityID := halves(testHash())
	kind := uuid.MustParse("4f68bce3-e8cd-4db1-96e7-fbcaf984b709")
	for _, p := range []struct {
		label string
		id    uuid.UUID
	}{{"root-a", rootID}, {"verity-a", verityID}} {
		if _, _, err := table.AllocatePartition(1<<20, p.label, kind, gpt.WithUniqueGUID(p.id)); err != nil {
			t.Fatal(err)
		}
	}
	if err := table.Write(); err != nil && !errors.Is(err, os.ErrPermission) {
		t.Fatal(err)
	}
	put := func(name, text string) {
		path := filepath.Join(sys, name)
		os.MkdirAll(filepath.Dir(path), 0o755)
		os.WriteFile(path, []byte(text), 0o644)
	}
	put("vda/size", strconv.Itoa(testDiskBytes/512)+"\n")
	put("vda/queue/logical_block_size", "512\n")
	put("vda/vda1/partition", "1\n")
	put("vda/vda2/partition", "2\n")
	put("sr0/size", "0\n") // no partitions: not read
	return sys, dev, f
}

func TestScan(t *testing.T) {
	sys, dev, f := fakeDisk(t)
	list, err := scan(sys, dev)
	rootID, verityID := halves(testHash())
	want := []partition{{"vda", "vda1", "root-a", rootID}, {"vda", "vda2", "verity-a", verityID}}
	if d := cmp.Diff(want, list); d != "" || err != nil {
		t.Fatalf("%v\n%s", err, d)
	}
	// The primary table is lost, at first the half of its entries alone: the backup at
	// the end of the disk is read.
	for _, lost := range []struct{ at, n int64 }{{1024, 64}, {512, 4096}} {
		if _, err := f.WriteAt(make([]byte, lost.n), lost.at); err != nil {
			t.Fatal(err)
		}
		if list, err = scan(sys, dev); len(list) != 2 || err != nil {
			t.Errorf("from the backup table: %v, %v", list, err)
		}
	}
	// Both are lost: the disk is named.
	if _, err := f.WriteAt(make([]byte, 64<<10), testDiskBytes-64<<10); err != nil {
		t.Fatal(err)
	}
	if list, err = scan(sys, dev); len(list) != 0 || err == nil || !strings.Contains(err.Error(), "read partitions of vda") {
		t.Errorf("without tables: %v, %v", list, err)
	}
	if _, err := scan("/nowhere", dev); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no sysfs: %v", err)
	}
}

// TestEmptyRefuses: what is not in memory is never emptied.
func TestEmptyRefuses(t *testing.T) {
	d, err := os.Open("/proc/self")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := empty(int(d.Fd())); err == nil || !strings.Contains(err.Error(), "is not in memory") {
		t.Errorf("empty = %v, want a refusal", err)
	}
}

// TestRunRefuses: a test is not PID 1 of an initramfs.
func TestRunRefuses(t *testing.T) {
	if err := Run(); !errors.Is(err, marker.ErrNotHere) {
		t.Errorf("Run = %v, want %v", err, marker.ErrNotHere)
	}
}

// FuzzReadTable puts anything where the partition table is.
func FuzzReadTable(f *testing.F) {
	f.Add([]byte("EFI PART\x00\x00\x01\x00\x5c\x00\x00\x00"), uint16(512))
	f.Fuzz(func(t *testing.T, raw []byte, at uint16) {
		file, err := os.Create(filepath.Join(t.TempDir(), "disk"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		file.Truncate(1 << 20)
		file.WriteAt(raw[:min(len(raw), 32<<10)], int64(at))
		table, err := gpt.Read(&disk{File: file, sizeBytes: 1 << 20, sectorBytes: 512})
		if err == nil {
			table.Partitions()
		}
	})
}
