package pool

import (
	"strings"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// State is that of a pool or vdev, as zpool names it for a person (zpool_state_to_name in lib/libzfs/libzfs_pool.c).
type State string

// The states. The last two are those of a spare.
const (
	Online      State = "ONLINE"
	Degraded    State = "DEGRADED"
	Faulted     State = "FAULTED"
	Offline     State = "OFFLINE"
	Removed     State = "REMOVED"
	Unavailable State = "UNAVAIL"
	Suspended   State = "SUSPENDED"
	InUse       State = "INUSE"
	Available   State = "AVAIL"
)

// lost says that a leaf in this state holds no data that can be had.
func (s State) lost() bool { return s == Faulted || s == Removed || s == Unavailable || s == Offline }

// Pool is an imported pool.
type Pool struct {
	Name  string
	GUID  zfs.GUID
	State State
	// Sizes are of the whole pool without redundancy taken off; ExpandableBytes is what its disks have grown by.
	SizeBytes, AllocatedBytes, FreeBytes, ExpandableBytes uint64
	// CapacityPercent and FragmentationPercent are -1 where zpool does not tell.
	CapacityPercent, FragmentationPercent int
	ReadOnly                              bool
	// Properties are all of them, with feature@NAME.
	Properties map[string]zfs.Property
	// Vdevs are the top-level ones of every class, with cache and spares.
	Vdevs []Vdev
	Scan  Scan
	// Expansion, Removal and Checkpoint are nil where there was none.
	Expansion, Removal *Work
	Checkpoint         *Checkpoint
	// DataErrors counts blocks whose data is lost; Errors names files of them.
	DataErrors uint64
	Errors     []string
	// MessageID is that of zpool's own diagnosis, such as ZFS-8000-2Q (lib/libzfs/libzfs_status.c); Words is what it says.
	MessageID, Words string
}

// Features returns the pool's features that are not disabled: enabled, or active, which is in use on the disks.
func (p Pool) Features() map[string]string {
	out := map[string]string{}
	for name, property := range p.Properties {
		if feature, ok := strings.CutPrefix(name, "feature@"); ok && property.Value != "disabled" {
			out[feature] = property.Value
		}
	}
	return out
}

// Vdev is a node of a pool's tree.
type Vdev struct {
	// Name is what zpool takes for it: mirror-0, or the path of a leaf. Of a device that is gone it is the GUID.
	Name string
	// Type is disk, file, mirror, raidz, spare, replacing and so on.
	Type  string
	Class Class
	GUID  zfs.GUID
	// Path is where it was opened, or, of one that is gone, last. The kernel's names are not stable; GUID is.
	Path, DevID, PhysicalPath string
	State                     State
	// Reason is why it is not online, a word such as OPEN_FAILED (vdev_aux_str in cmd/zpool/zpool_main.c); empty if there is none.
	Reason                                  string
	ReadErrors, WriteErrors, ChecksumErrors uint64
	// SlowIOs counts those that took longer than 30 s (zio_slow_io_ms, zfs(4)).
	SlowIOs                   uint64
	SizeBytes, AllocatedBytes uint64
	// ExpandableBytes is what its devices have grown by.
	ExpandableBytes uint64
	// RepairedBytes is what the scan that goes on has written to it. Waiting says that its resilver comes after that one.
	RepairedBytes uint64
	Waiting       bool
	// UsedBy is another pool that has a spare in use.
	UsedBy string
	// ConfiguredShift and PhysicalShift are powers of two; set where the sector that is used is smaller than the device's.
	ConfiguredShift, PhysicalShift int
	// Trim and Initialize are those of a leaf; TrimUnsupported says that it takes none.
	Trim, Initialize Work
	TrimUnsupported  bool
	Children         []Vdev
}

// Layout is the layout of a top-level vdev. Known is false for one that is none of this package's.
func (v Vdev) Layout() (l Layout, known bool) {
	switch v.Type {
	case "disk", "file":
		return Single, true
	case "spare", "replacing":
		return Single, true // of which the one disk is being replaced
	case "mirror":
		return Mirror, true
	case "raidz":
		name, _, _ := strings.Cut(v.Name, "-")
		return Layout(name), Layout(name).parity() > 0
	}
	return "", false
}

// Leaves are the vdevs below, or itself, that are devices.
func (v Vdev) Leaves() []Vdev {
	if len(v.Children) == 0 {
		return []Vdev{v}
	}
	var out []Vdev
	for _, c := range v.Children {
		out = append(out, c.Leaves()...)
	}
	return out
}

// Leaves are the devices of all classes, each with that of its top-level vdev.
func (p Pool) Leaves() []Vdev {
	var out []Vdev
	for _, v := range p.Vdevs {
		out = append(out, v.Leaves()...)
	}
	return out
}
