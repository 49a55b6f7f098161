package pool

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Verb is the kind of an operation.
type Verb string

// The operations, in the order in which one pool goes through them.
const (
	Remember      Verb = "remember pool"
	ImportPool    Verb = "import pool"
	RewindPool    Verb = "import, giving up its latest changes, pool"
	CreatePool    Verb = "create pool"
	KeepOut       Verb = "keep out of pool"
	WipeDisk      Verb = "wipe a disk of pool"
	BringOnline   Verb = "bring online in pool"
	ReopenDisk    Verb = "open anew a disk of the suspended pool"
	EnrolDisk     Verb = "give the recovery key to a disk of pool"
	EraseDisk     Verb = "erase a disk of the destroyed pool"
	ReplaceDevice Verb = "replace in pool"
	AttachDevice  Verb = "attach to pool"
	ExpandRAIDZ   Verb = "expand RAIDZ of pool"
	AddVdev       Verb = "add vdev to pool"
	AddSpare      Verb = "add spare to pool"
	AddCache      Verb = "add cache to pool"
	RenewDevice   Verb = "take out and add anew in pool"
	GrowDevice    Verb = "grow device of pool"
	DetachDevice  Verb = "detach from pool"
	RemoveVdev    Verb = "remove from pool"
	StartScrub    Verb = "start scrub of pool"
	StartTrim     Verb = "start trim of pool"
	SetProperty   Verb = "set property of pool"
	ExportPool    Verb = "export pool"
	DestroyPool   Verb = "destroy pool"
)

// Op is one operation on one pool.
type Op struct {
	Verb Verb
	Pool string
	GUID zfs.GUID
	// Vdev is what it is done to, as zpool takes it, and VdevGUID that of it.
	Vdev     string
	VdevGUID zfs.GUID
	// Path is where the device was opened last, for a person.
	Path string
	// Groups are vdevs that are made, of Disks. With one disk that takes the place of another, or joins it, Groups is empty.
	Groups []DiskGroup
	Disk   *Disk
	// Property and Value are those of SetProperty.
	Property, Value string
	// Encrypt has disks encrypted before they are given to the pool.
	Encrypt bool
	// Sealed imports from no disk of the pool that is not encrypted, also if one has come since.
	Sealed bool
	// Force imports against the claim of another system, WithoutLog without logs that cannot be opened; ReadOnly so.
	Force, WithoutLog, ReadOnly bool
	// Needs says what is lost by it; empty if nothing is. Then a Confirmation is needed, which is for just these words: they hold nothing that changes by itself.
	Needs string
	// Amount says how much that is now. It is shown beside Needs, and not confirmed.
	Amount string
}

// DiskGroup is a vdev that is to be made.
type DiskGroup struct {
	Class  Class
	Layout Layout
	Disks  []Disk
}

// String prints the operation for a person, and is what a confirmation repeats: what it is done to is told apart by GUIDs and the names of disks that stay.
func (o Op) String() string {
	text := fmt.Sprintf("%s %s", o.Verb, o.Pool)
	if o.GUID != 0 {
		text += fmt.Sprintf(" (%s)", o.GUID)
	}
	if shown := cmp.Or(o.Path, o.Vdev); shown != "" {
		text += ": " + shown
		if o.VdevGUID != 0 && shown != o.VdevGUID.String() {
			text += fmt.Sprintf(" (%s)", o.VdevGUID)
		}
	}
	var groups []string
	for _, g := range o.Groups {
		groups = append(groups, g.String())
	}
	if len(groups) > 0 {
		text += ": " + strings.Join(groups, ", ")
	}
	switch {
	case o.Verb == SetProperty:
		text += fmt.Sprintf(": %s=%s", o.Property, o.Value)
	case o.Disk != nil && o.Vdev != "":
		text += " with " + o.Disk.String()
	case o.Disk != nil:
		text += ": " + o.Disk.String()
	}
	if o.Encrypt {
		text += ", encrypted"
	}
	if o.ReadOnly {
		text += ", read-only"
	}
	if o.Force {
		text += ", against the claim of another system"
	}
	if o.WithoutLog {
		text += ", without its log"
	}
	if o.Needs != "" {
		text += "; " + o.Needs
	}
	return text
}

// Loss is what is lost by it, and how much that is, for a person; empty if nothing is.
func (o Op) Loss() string {
	if o.Amount == "" {
		return o.Needs
	}
	return o.Needs + ": " + o.Amount
}

// Part implements reconcile.Parted: a pool that cannot be brought to its declaration keeps no other from being imported, nor its own data from being read through, or its new disks from
// getting the recovery key.
func (o Op) Part() string {
	switch o.Verb {
	case StartScrub, StartTrim:
		return o.Pool + " by its schedules"
	case EnrolDisk:
		return o.Pool + "'s recovery keys"
	}
	return o.Pool
}

// Lasts implements reconcile.Lasting: to prepare disks, or erase them, takes as long as they need to discard what they hold, one after the other, and an import as long as its log and
// what was being freed need. Cut off, they would begin anew for ever.
func (o Op) Lasts() bool {
	switch o.Verb {
	case ImportPool, RewindPool, CreatePool, ReplaceDevice, AttachDevice, ExpandRAIDZ, AddVdev, AddSpare, AddCache, EraseDisk, WipeDisk, DestroyPool:
		return true
	}
	return false
}

// String is the group for a person.
func (g DiskGroup) String() string {
	var disks []string
	for _, d := range g.Disks {
		disks = append(disks, d.String())
	}
	return fmt.Sprintf("%s %s of %s", g.Class, g.Layout, strings.Join(disks, " and "))
}

// Confirms tells whether a confirmation is for the operation.
func (c Confirmation) Confirms(o Op) bool {
	return o.Needs != "" && c.Pool == o.Pool && c.Operation == o.String()
}

// allowed says that the operation needs no confirmation, or has one.
func (s Spec) allowed(o Op) bool {
	if o.Needs == "" {
		return true
	}
	for _, c := range s.Confirmed {
		if c.Confirms(o) {
			return true
		}
	}
	return false
}
