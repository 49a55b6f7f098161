package pool

// Kind is what a person has to resolve.
type Kind string

// The kinds.
const (
	// TwoOfOneName: several pools have the name, and nothing says which is meant.
	TwoOfOneName Kind = "two pools of one name"
	// OtherName: the pool is imported, under another name.
	OtherName Kind = "pool has another name"
	// OtherPool: one of the name is here, and is not the one that was here before.
	OtherPool Kind = "another pool of the name"
	// Missing: a pool that was here is on no disk.
	Missing Kind = "pool missing"
	// DevicesMissing: it is here, with too few devices.
	DevicesMissing Kind = "devices missing"
	// PoolNewer: the module does not know features of it.
	PoolNewer Kind = "pool newer than the module"
	// InUseElsewhere: another system has it.
	InUseElsewhere Kind = "pool in use elsewhere"
	// PoolDamaged: it cannot be read.
	PoolDamaged Kind = "pool damaged"
	// IOSuspended: it answers no more.
	IOSuspended Kind = "pool suspended"
	// ReadOnly: it cannot be changed.
	ReadOnly Kind = "pool read-only"
	// Writable: it is imported for writing, and declared to be read only.
	Writable Kind = "pool not read-only"
	// DiskMissing: a selector means no disk, or several.
	DiskMissing Kind = "disk not found"
	// DiskSwapped: the disk that is meant holds another pool, or another leaf of this one.
	DiskSwapped Kind = "disk swapped"
	// DiskCopied: several disks say that they are the same device of the pool.
	DiskCopied Kind = "disk copied"
	// DiskApart: disks of the pool were written to without each other, and hold different data.
	DiskApart Kind = "disks apart"
	// DiskUnusable: the disk that is meant cannot be taken.
	DiskUnusable Kind = "disk not usable"
	// NoPlaceForKeys: its disks are to be encrypted, and their keys would lie in the clear.
	NoPlaceForKeys Kind = "no place for keys"
	// DiskLocked: the pool would be made of disks whose encrypted volumes are not open.
	DiskLocked Kind = "disk locked"
	// DeviceFails: the disk of a device is here, and ZFS does not open it.
	DeviceFails Kind = "device does not open"
	// HasCheckpoint: its devices cannot be changed before that is gone.
	HasCheckpoint Kind = "pool has a checkpoint"
	// LayoutDiffers: the pool cannot be brought to the layout that is declared.
	LayoutDiffers Kind = "layout differs"
)

// Condition is something that a person has to resolve. Nothing is done to get out of it.
type Condition struct {
	Kind Kind
	Pool string
	// Text says what was found, Next what can be done about it.
	Text, Next string
}

// String is for logs.
func (c Condition) String() string { return string(c.Kind) + ": " + c.Text + " " + c.Next }
