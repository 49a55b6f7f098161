package luks

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
)

const (
	// MapperPrefix begins the names under which the node's volumes are open, below MapperDir.
	MapperPrefix = "cyvive-"
	// diskPrefix begins the names of volumes in which a device of a declared pool lies. A name is the label in the header, and tells which key is the volume's.
	diskPrefix = "pool-"
	// diskDigits is how many hexadecimal digits follow: 64 random bits.
	diskDigits = 16
)

// NewDiskName returns a name for the volume of a pool's disk, which nothing else has.
func NewDiskName() string {
	id := make([]byte, diskDigits/2)
	_, _ = rand.Read(id) // never fails: crypto/rand, since Go 1.24
	return diskPrefix + hex.EncodeToString(id)
}

// IsDiskName says whether a label is one that NewDiskName could have made. What it takes is safe as the name of a file and of a device.
func IsDiskName(label string) bool {
	digits, ok := strings.CutPrefix(label, diskPrefix)
	return ok && len(digits) == diskDigits && strings.Trim(digits, "0123456789abcdef") == ""
}

// OpenDisk is Open for the volume of a pool's disk. What ZFS trims is discarded on the disk, which shows who has the disk what of it is in use, and no more.
func (c Cryptsetup) OpenDisk(ctx context.Context, device, name string, s Secret) error {
	if _, err := c.open(ctx, device, s, "--allow-discards", device, name); err != nil {
		return fmt.Errorf("open encrypted disk %s (%s): %w", name, device, err)
	}
	return nil
}
