package blockdev

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/siderolabs/go-blockdevice/v2/blkid"
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

func probeLabel(device string) (kind, label string, err error) {
	f, err := os.Open(device)
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	// The library refuses devices of less than 64 KiB, and an ISO image with a configuration may be smaller.
	if label, ok := isoLabel(f); ok {
		return "iso9660", label, nil
	}
	info, err := blkid.Probe(f, blkid.WithSkipLocking(true))
	if err != nil {
		return "", "", fmt.Errorf("probe %s: %w", device, err)
	}
	if info.Label == nil {
		return info.Name, "", nil
	}
	return info.Name, strings.TrimRight(*info.Label, " \x00"), nil
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
