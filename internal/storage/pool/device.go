package pool

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// ErrLastCopy is of a device without which there is data that could not be read any more.
var ErrLastCopy = errors.New("is needed for data that is on no other device")

// Device finds a device of a pool as a person may name it: by its name, its path, with or without /dev/, or its GUID. None is [zfs.ErrNotExist], several are
// [zfs.ErrInvalid].
func (p Pool) Device(name string) (Vdev, error) {
	var found []Vdev
	var known []string
	for _, leaf := range p.Leaves() {
		known = append(known, leaf.Name)
		if name == leaf.Name || name != "" && (name == leaf.Path || "/dev/"+name == leaf.Path) || name == leaf.GUID.String() && leaf.GUID != 0 {
			found = append(found, leaf)
		}
	}
	switch len(found) {
	case 0:
		return Vdev{}, fmt.Errorf("find device %.200q of pool %s: it %w, expected one of %s", name, p.Name, zfs.ErrNotExist, strings.Join(known, ", "))
	case 1:
		return found[0], nil
	}
	var guids []string
	for _, v := range found {
		guids = append(guids, v.GUID.String())
	}
	return Vdev{}, fmt.Errorf("find device %.200q of pool %s: the name %w, since several devices have it; name one by its GUID: %s",
		name, p.Name, zfs.ErrInvalid, strings.Join(guids, ", "))
}

// Without returns how many more devices of its vdev can fail without a loss of data when one is taken out. It is ErrLastCopy if data is lost at once, and
// [zfs.ErrInvalid] for a spare, which is in no vdev. A cache holds nothing of its own.
func (p Pool) Without(device Vdev) (redundancy int, err error) {
	for _, top := range p.Vdevs {
		if !has(top, device.GUID) {
			continue
		}
		if top.Class == Spare {
			return 0, fmt.Errorf("take %s out of pool %s: %w: it is a spare, and in no vdev", device.Name, p.Name, zfs.ErrInvalid)
		}
		if top.Class == Cache {
			return 1, nil
		}
		left := top.tolerates()
		for _, place := range top.places() {
			if !p.works(place, device.GUID) {
				left--
			}
		}
		switch {
		case left >= 0:
			return left, nil
		case top.Class == Log:
			return 0, nil // what it holds is in memory too, and is lost only if the power fails before it is written elsewhere
		}
		return 0, fmt.Errorf("take %s out of %s of pool %s: it %w", device.Name, top.Name, p.Name, ErrLastCopy)
	}
	return 0, fmt.Errorf("find device %s of pool %s: it %w", device.GUID, p.Name, zfs.ErrNotExist)
}

// has says that a device is in a vdev.
func has(v Vdev, guid zfs.GUID) bool {
	for _, leaf := range v.Leaves() {
		if leaf.GUID == guid {
			return true
		}
	}
	return false
}

// places are those for devices in a top-level vdev; a place holds several while one is replaced, or a spare stands in for it.
func (v Vdev) places() []Vdev {
	switch v.Type {
	case "mirror", "raidz", "draid":
		return v.Children
	}
	return []Vdev{v}
}

// tolerates is how many places of a top-level vdev can fail. The name of a dRAID begins with its parity, as in draid2:4d:10c:1s-0 (zpoolconcepts(7)).
func (v Vdev) tolerates() int {
	switch v.Type {
	case "mirror":
		return len(v.Children) - 1
	case "draid":
		if rest, ok := strings.CutPrefix(v.Name, "draid"); ok && rest != "" && rest[0] >= '1' && rest[0] <= '3' {
			return int(rest[0] - '0')
		}
	}
	layout, _ := v.Layout()
	return layout.parity()
}

// single says that a vdev that is made of a group is lost with one disk.
func (g DiskGroup) single() bool { return g.Layout.parity() == 0 && len(g.Disks) == 1 }

// holds says that a top-level vdev has data that is nowhere else.
func (v Vdev) holds() bool { return v.Class != Log && v.Class != Cache && v.Class != Spare }

// works says that all of a place can be read without one device.
func (p Pool) works(place Vdev, without zfs.GUID) bool {
	for _, leaf := range place.Leaves() {
		copying := p.Scan.Resilvers() && (leaf.RepairedBytes > 0 || leaf.Waiting)
		if leaf.GUID != without && !copying && (leaf.State == Online || leaf.State == Degraded || leaf.State == InUse) {
			return true
		}
	}
	return false
}
