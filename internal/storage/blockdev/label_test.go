package blockdev

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// iso returns the beginning of an ISO 9660 image with a label.
func iso(label string) []byte {
	image := make([]byte, 50<<10)
	d := image[isoDescriptorOffset:]
	copy(d, "\x01CD001\x01")
	copy(d[isoLabelOffset:], label+strings.Repeat(" ", isoLabelBytes-len(label)))
	return image
}

func TestSmallISOIsFound(t *testing.T) {
	path := t.TempDir() + "/cidata.iso"
	if err := os.WriteFile(path, iso("cidata"), 0o600); err != nil {
		t.Fatal(err)
	}
	if kind, label, err := probeLabel(path); kind != "iso9660" || label != "cidata" || err != nil {
		t.Errorf("got %q %q, %v", kind, label, err)
	}
}

func TestLabelOfOthers(t *testing.T) {
	disk := New(tools(t), t.TempDir())
	path := image(t, 16<<20)
	if err := disk.Format(t.Context(), path, "cidata"); err != nil {
		t.Fatal(err)
	}
	kind, label, err := probeLabel(path)
	if label != "" || kind != "" || err != nil {
		t.Errorf("got %q %q, %v", kind, label, err)
	}
}

// TestRemovedTable: of a disk whose beginning was overwritten, the partitions are passed over that the kernel has of the copy of its table.
func TestRemovedTable(t *testing.T) {
	sysfs, dev := t.TempDir(), t.TempDir()
	for disk, mbr := range map[string][]byte{"vda": {0x55, 0xAA}, "vdb": {0, 0}} {
		at := filepath.Join(sysfs, "devices/block", disk, disk+"1")
		if err := os.MkdirAll(at, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(at, "partition"), []byte("1\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		class := filepath.Join(sysfs, "class/block")
		if err := os.MkdirAll(class, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{disk, disk + "/" + disk + "1"} {
			if err := os.Symlink(filepath.Join("../../devices/block", name), filepath.Join(class, filepath.Base(name))); err != nil {
				t.Fatal(err)
			}
		}
		block := make([]byte, 4096)
		copy(block[510:], mbr)
		if err := os.WriteFile(filepath.Join(dev, disk), block, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]bool{"vda": false, "vda1": false, "vdb": false, "vdb1": true, "nosuch": false} {
		if got := isRemoved(sysfs, dev, name); got != want {
			t.Errorf("%s: got %t, want %t", name, got, want)
		}
	}
}

func FuzzISOLabel(f *testing.F) {
	f.Add(iso("cidata")[isoDescriptorOffset : isoDescriptorOffset+100])
	f.Fuzz(func(t *testing.T, data []byte) {
		image := append(make([]byte, isoDescriptorOffset), data...)
		if label, ok := isoLabel(bytes.NewReader(image)); !ok && label != "" || len(label) > isoLabelBytes {
			t.Errorf("label %q, %t", label, ok)
		}
	})
}

func FuzzFATLabel(f *testing.F) {
	boot := make([]byte, fatBootBytes)
	copy(boot[71:], "CIDATA     FAT32   ")
	boot[510], boot[511] = 0x55, 0xAA
	if label, ok := fatLabel(boot); !ok || label != "CIDATA" {
		f.Fatalf("label %q, %t", label, ok)
	}
	f.Add(boot)
	f.Fuzz(func(t *testing.T, data []byte) {
		if label, ok := fatLabel(data); !ok && label != "" || len(label) > fatLabelBytes {
			t.Errorf("label %q, %t", label, ok)
		}
	})
}
