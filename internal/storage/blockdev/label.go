package blockdev

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Labelled is a block device with a file system of a given label.
type Labelled struct {
	Device string
	// FileSystem is the name under which the kernel mounts it.
	FileSystem string
}

// FindLabel returns the first device whose file system is vfat or iso9660 and has the label, in any case of letters. It is false if there
// is none. A device that cannot be read counts as one without the label, and so does a partition of a table that was removed.
func FindLabel(label string) (Labelled, bool, error) {
	devices, err := Devices("/sys")
	if err != nil {
		return Labelled{}, false, err
	}
	for _, device := range devices {
		if isRemoved("/sys", "/dev", filepath.Base(device)) {
			continue
		}
		kind, found, err := probeLabel(device)
		if err == nil && strings.EqualFold(found, label) && (kind == "vfat" || kind == "iso9660") {
			return Labelled{Device: device, FileSystem: kind}, true, nil
		}
	}
	return Labelled{}, false, nil
}

// isRemoved tells whether a device is a partition by what was left of a table that was removed. With "gpt" on its command line, which a node needs for its own
// disk, the kernel takes the copy at the end of any disk (find_valid_gpt, block/partitions/efi.c, Linux 6.12), also where somebody has overwritten the beginning
// to be rid of all that was there. A table that is in use has a protective MBR in front of it, which no write of the node takes away.
func isRemoved(sysfs, dev, name string) bool {
	dir, err := filepath.EvalSymlinks(filepath.Join(sysfs, "class/block", name))
	if err != nil {
		return false
	}
	if _, err := os.Stat(filepath.Join(dir, "partition")); err != nil {
		return false // it is no partition
	}
	f, err := os.Open(filepath.Join(dev, filepath.Base(filepath.Dir(dir))))
	if err != nil {
		return false
	}
	defer f.Close()
	mbr := make([]byte, mbrBytes)
	if _, err := f.ReadAt(mbr, 0); err != nil {
		return false
	}
	return !hasBootSignature(mbr)
}

// mbrBytes is the size of a master boot record, and of a boot sector of FAT; both end with the same two bytes.
const mbrBytes = 512

func hasBootSignature(block []byte) bool { return block[510] == 0x55 && block[511] == 0xAA }

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
	if len(boot) < fatBootBytes || !hasBootSignature(boot) {
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
