package install

import (
	"errors"

	"github.com/cyvive/cyvive/internal/storage/disk"
)

// Types of disks, as Selector.Type and Disk.Type have them.
const (
	SSD  = disk.SSD
	HDD  = disk.HDD
	NVMe = disk.NVMe
)

// ErrRequest is a request that cannot be understood.
var ErrRequest = errors.New("the request is not valid")

// Selector says which disk is meant.
type Selector = disk.Selector

// identity is what the disk tells of itself.
func (d Disk) identity() disk.Identity {
	return disk.Identity{
		Name: d.Name, Type: d.Type, Model: d.Model, Serial: d.Serial, WWN: d.WWN, Bus: d.Bus, Path: d.Path, SizeBytes: d.SizeBytes,
	}
}

// sizeText is a size as makers of disks count.
func sizeText(n int64) string { return disk.SizeText(n) }
