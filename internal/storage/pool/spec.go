package pool

import (
	"time"

	"github.com/cyvive/cyvive/internal/storage/disk"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Compatibility is the feature set that pools get unless it says otherwise: that of the oldest OpenZFS which an OS image may be rolled back to. It is a file
// that zpool looks for in /usr/share/zfs/compatibility.d (zpool-features(7)).
const Compatibility = "openzfs-2.3"

// Spec is the whole desired state of the machine's pools. Pools that are not in it are left as they are. Who reads it from documents has checked it (package config).
type Spec struct {
	Pools []PoolSpec
	// Own is the name of the system's own pool while it may be scrubbed: once a month, and nothing else is done to it. Empty is never.
	Own string
	// Confirmed are the operations that a person has allowed. The caller takes one away once it was carried out, or is too old.
	Confirmed []Confirmation
}

// Presence is whether a pool is to be there.
type Presence string

// The presences.
const (
	Imported  Presence = ""
	Exported  Presence = "exported"
	Destroyed Presence = "destroyed"
)

// Encryption is whether disks are encrypted before they are given to a pool.
type Encryption string

// The ways.
const (
	// EncryptAsFound encrypts disks of a new pool where the node has a place for their keys, and those that join a pool if it has encrypted ones.
	EncryptAsFound Encryption = ""
	EncryptAlways  Encryption = "luks2"
	EncryptNever   Encryption = "none"
)

// PoolSpec is one pool.
type PoolSpec struct {
	Name     string
	Presence Presence
	// GUID is which pool of the name is meant; 0 if there is but one. With it, none is ever created.
	GUID zfs.GUID
	// Vdevs are the top-level ones of every class; Cache and Spares have no redundancy of their own.
	Vdevs         []VdevSpec
	Cache, Spares []disk.Selector
	// Properties are those of zpoolprops(7) that are to be set. Compatibility and autotrim=on stand in for what is not said.
	Properties map[string]string
	Encryption Encryption
	// ReadOnly imports it so; nothing of it is changed then.
	ReadOnly bool
	// Rewind says that a pool that is damaged may be looked at for an earlier state to return to. What that loses is shown, and asked for.
	Rewind bool
	// Scrub and Trim say when they are due; nil is never.
	Scrub, Trim Schedule
}

// Schedule is a point in time that comes again.
type Schedule interface {
	// Due tells whether one of the times has come since last, which is zero if it was never done.
	Due(last, now time.Time) bool
}

// Class is what a vdev is for.
type Class string

// The classes (zpoolconcepts(7)).
const (
	Normal  Class = ""
	Special Class = "special"
	Dedup   Class = "dedup"
	Log     Class = "log"
	Cache   Class = "cache"
	Spare   Class = "spare"
)

// String is the class for a person.
func (c Class) String() string {
	if c == Normal {
		return "data"
	}
	return string(c)
}

// Layout is how a vdev keeps its data.
type Layout string

// The layouts.
const (
	// Single is one disk without redundancy. With several disks, each is a vdev of its own: a stripe.
	Single Layout = ""
	Mirror Layout = "mirror"
	RAIDZ1 Layout = "raidz1"
	RAIDZ2 Layout = "raidz2"
	RAIDZ3 Layout = "raidz3"
)

// parity is how many disks of a RAIDZ may fail; 0 for other layouts.
func (l Layout) parity() int {
	switch l {
	case RAIDZ1:
		return 1
	case RAIDZ2:
		return 2
	case RAIDZ3:
		return 3
	}
	return 0
}

// String is the layout for a person.
func (l Layout) String() string {
	if l == Single {
		return "single disk"
	}
	return string(l)
}

// VdevSpec is one top-level vdev.
type VdevSpec struct {
	Class  Class
	Layout Layout
	Disks  []disk.Selector
}

// Confirmation allows one destructive operation.
type Confirmation struct {
	// Pool is the pool's name, as a person has typed it; Operation is Op.String() of what was shown to them.
	Pool, Operation string
}

// properties are those of the pool with the defaults.
func (p PoolSpec) properties() map[string]string {
	out := map[string]string{"compatibility": Compatibility, "autotrim": "on"}
	for name, value := range p.Properties {
		out[name] = value
	}
	return out
}

// vdevs are the top-level ones, with a stripe taken apart into its disks.
func (p PoolSpec) vdevs() []VdevSpec {
	var out []VdevSpec
	for _, v := range p.Vdevs {
		if v.Layout != Single {
			out = append(out, v)
			continue
		}
		for _, d := range v.Disks {
			out = append(out, VdevSpec{Class: v.Class, Disks: []disk.Selector{d}})
		}
	}
	return out
}
