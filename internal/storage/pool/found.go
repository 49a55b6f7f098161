package pool

import (
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/storage/disk"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/label"
)

// Importable is a pool that is on the machine's disks and not imported.
type Importable struct {
	Name  string
	GUID  zfs.GUID
	State State
	// Problem is what stands in the way; Ready if nothing does.
	Problem Problem
	// Words are zpool's, Features those that the module does not know. Comment is the pool's property.
	Words, Comment string
	Features       []string
	// Destroyed pools can be brought back by a person only.
	Destroyed bool
	// Vdevs have names, states and reasons only. Missing are the names of those leaves that cannot be opened.
	Vdevs   []Vdev
	Missing []string
	// Claimed says that another system used it last and did not export it, whatever else its Problem is: an import has to be forced.
	Claimed bool
	// LostLogs are the names of log vdevs that cannot be opened. An import that is not told to do without them fails (spa_check_for_missing_logs in
	// module/zfs/spa.c, 2.3.9), though the pool is found as one that can be imported.
	LostLogs []string
}

// Problem is why a pool cannot be imported just so.
type Problem string

// The problems.
const (
	Ready Problem = ""
	// OtherSystem: it was last used by another system, or by this one under another hostid, and not exported.
	OtherSystem Problem = "last used by another system"
	// Active: another system has it imported now.
	Active Problem = "imported by another system"
	// NoHostID: it may be used by several systems, and this one has no identity among them.
	NoHostID Problem = "this system has no hostid"
	// Newer: the module does not know a feature of it.
	Newer Problem = "newer than this system's ZFS"
	// NewerForWriting: so, but it can be read.
	NewerForWriting Problem = "newer than this system's ZFS, which can read it only"
	// Incomplete: too many devices are missing.
	Incomplete Problem = "devices are missing"
	// Damaged: what is there cannot be read as a pool.
	Damaged Problem = "damaged"
)

// Rewind is the outcome of a dry run of an import by a rewind.
type Rewind struct {
	// Possible says that there is an earlier state to return to, in Words.
	Possible bool
	Words    string
	// Claimed says that another system used the pool last, so that an import has to be forced.
	Claimed bool
	// Lost is how much of the latest changes are given up; 0 if zpool does not tell.
	Lost time.Duration
}

// Disk is one of the machine's disks.
type Disk struct {
	disk.Identity
	// Device is the whole disk, such as /dev/vdb; Devices are all that lead to it: itself, its partitions, and what is made of them.
	Device  string
	Devices []string
	// System says that the node runs from it. Use is who uses it, other than a pool; Problem why it cannot be looked at.
	System       bool
	Use, Problem string
	ReadOnly     bool
	// Contents says in words what is on it; empty if it is blank.
	Contents string
	// Label is what ZFS has written there; nil if nothing.
	Label *Label
	// GrowableBytes is by how much the partition of a pool on it could grow.
	GrowableBytes uint64
	// Container is the encrypted volume of the node's on it, which holds what ZFS is given; nil if there is none.
	Container *Container
}

// Container is an encrypted volume that lies on a disk for a device of a pool.
type Container struct {
	// Name is that of no other, and stays: it is in the volume's header. Partition is what the volume lies on, Device where its content appears while it is open.
	Name, Partition, Device string
	// Begun says that it is being made, and holds nothing yet. Name may be empty then.
	Begun bool
	// Open says that Device is there, and is of this disk. Stale says that one of the name is open, and that its disk is gone: this one, before it was pulled. Double
	// says that another disk that is here has one of the name, which is open, or none of them is.
	Open, Stale, Double bool
	// Keyed says that the node has a key of it, Recoverable that the node's recovery key opens it.
	Keyed, Recoverable bool
	// Problem is why it is not open, for a person.
	Problem string
}

// stale says that the disk's container has to be opened anew, in place of one that leads nowhere.
func (d Disk) stale() bool { return d.Container != nil && d.Container.Stale }

// plain says that the label on the disk is not in an encrypted volume of the node's: anybody who had the disk can have written it.
func (d Disk) plain() bool { return d.Label != nil && !strings.HasPrefix(d.Label.Device, mapperDir) }

// encrypted says that what ZFS is given of the disk is encrypted.
func (d Disk) encrypted() bool { return d.Container != nil && !d.Container.Begun }

// Label is what a leaf of a pool says of itself.
type Label struct {
	// Device is where it was found: the disk, a partition of it, or what is made of one.
	Device string
	// Pool is empty for a spare or cache device, which belong to no one pool.
	Pool           string
	PoolGUID, GUID zfs.GUID
	// State says whether the pool was in use, exported or destroyed when this was written, or that it is a spare or cache device.
	State LabelState
	// Former says that the device is in the pool no more, or not yet: its label has the transaction group 0, as one that is detached gets it (spa_vdev_detach in module/zfs/spa.c,
	// 2.3.9) and one of a pool that is being made. zpool imports nothing by it (zpool_read_label in lib/libzutil/zutil_import.c).
	Former bool
	// Peers are the other devices of its vdev, as they were when this was written, which is whenever one of them changes its state.
	Peers []Peer
	// TXG is the newest of the pool's transactions that is on the device, and Written when that was, by the clock of who wrote it; 0 where none can be read.
	TXG     uint64
	Written time.Time
}

// Peer is another device of a vdev, as a label has it.
type Peer struct {
	GUID zfs.GUID
	// Away says that the pool went on without it, and Offline that this was asked for.
	Away, Offline bool
}

// LabelState is the state in a label.
type LabelState string

// The states (pool_state_t in include/sys/fs/zfs.h).
const (
	LabelActive    LabelState = "active"
	LabelExported  LabelState = "exported"
	LabelDestroyed LabelState = "destroyed"
	LabelSpare     LabelState = "spare"
	LabelCache     LabelState = "cache"
)

// NewLabel is what was read on a device.
func NewLabel(device string, l label.Label) *Label {
	out := &Label{
		Device: device, Pool: l.Name, PoolGUID: zfs.GUID(l.PoolGUID), GUID: zfs.GUID(l.GUID), State: LabelState(l.State.String()),
		Former: l.TXG == 0 && l.State != label.Spare && l.State != label.Cache, // whose labels have none
		TXG:    l.Latest.TXG, Written: l.Latest.Time,
	}
	for _, p := range l.Peers {
		out.Peers = append(out.Peers, Peer{GUID: zfs.GUID(p.GUID), Away: p.Away, Offline: p.Offline})
	}
	return out
}
