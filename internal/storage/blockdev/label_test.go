package blockdev

import (
	"bytes"
	"os"
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
