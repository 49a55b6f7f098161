package blockdev

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// Labelled is a block device with a file system of a given label.
type Labelled struct {
	Device string
	// FileSystem is the name under which the kernel mounts it.
	FileSystem string
}

// FindLabel returns the first device whose file system is vfat or iso9660 and has the label, in any case of letters. It is false if there
// is none. A device that cannot be read counts as one without the label.
func FindLabel(label string) (Labelled, bool, error) {
	devices, err := Devices("/sys")
	if err != nil {
		return Labelled{}, false, err
	}
	for _, device := range devices {
		kind, found, err := probeLabel(device)
		if err == nil && strings.EqualFold(found, label) && (kind == "vfat" || kind == "iso9660") {
			return Labelled{Device: device, FileSystem: kind}, true, nil
		}
	}
	return Labelled{}, false, nil
}

// probeLabel returns the kind of file system and its label; an empty kind is one of neither kind that is looked for. The library for
// signatures does not serve here: it reads no label of FAT, and no device of less than 64 KiB, as an ISO image with a configuration may be.
func probeLabel(device string) (kind, label string, err error) {
	f, err := os.Open(device)
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	if label, ok := isoLabel(f); ok {
		return "iso9660", label, nil
	}
	boot := make([]byte, fatBootBytes)
	if _, err := f.ReadAt(boot, 0); err != nil {
		return "", "", fmt.Errorf("read %s: %w", device, err)
	}
	if label, ok := fatLabel(boot); ok {
		return "vfat", label, nil
	}
	return "", "", nil
}

// The primary volume descriptor of ISO 9660 (ECMA-119, 8.4) lies in the 17th sector of 2048 bytes.
const (
	isoDescriptorOffset = 16 * 2048
	isoLabelOffset      = 40
	isoLabelBytes       = 32
)

// isoLabel returns the volume identifier, if there is a primary volume descriptor.
func isoLabel(r io.ReaderAt) (string, bool) {
	d := make([]byte, isoLabelOffset+isoLabelBytes)
	if _, err := r.ReadAt(d, isoDescriptorOffset); err != nil || string(d[:6]) != "\x01CD001" {
		return "", false
	}
	return strings.TrimRight(string(d[isoLabelOffset:]), " \x00"), true
}

// fatBootBytes is the boot sector of FAT ("FAT: General Overview of On-Disk Format" 1.03): its label stands before the name of the FAT type.
const (
	fatBootBytes  = 512
	fatLabelBytes = 11
)

// fatLabel returns the label in a boot sector. A label that is only in the root directory is not looked for: mkfs.fat and mtools write both.
func fatLabel(boot []byte) (string, bool) {
	if len(boot) < fatBootBytes || boot[510] != 0x55 || boot[511] != 0xAA {
		return "", false
	}
	for _, place := range []struct {
		kind string
		at   int
	}{{"FAT32   ", 82}, {"FAT16   ", 54}, {"FAT12   ", 54}} {
		if string(boot[place.at:place.at+len(place.kind)]) == place.kind {
			return strings.TrimRight(string(boot[place.at-fatLabelBytes:place.at]), " \x00"), true
		}
	}
	return "", false
}
