package csi

import (
	"strconv"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// User properties of a volume's dataset. They are set when it is made, by one transaction that follows the one which makes the dataset: before it has its name
// (create.go).
const (
	prefix = "dev.cyvive.csi:"
	// markVolume is the volume's id. A dataset that does not have it itself is none of the driver's. Package storage/dataset knows the driver's by it.
	markVolume = prefix + "volume"
	// markName is the name that Kubernetes gave, as url.QueryEscape writes it; for a person, where the id is a hash.
	markName = prefix + "name"
	// markCapacity is how many bytes the volume was asked to have. What it has is refquota or volsize: less until a clone is whole, and more once it
	// has grown.
	markCapacity = prefix + "capacity"
	// markFileSystem is what is on it: zfs, ext4, xfs, or none for a raw device.
	markFileSystem = prefix + "filesystem"
	// markSource is snapshot/ID or volume/ID of what it was made of, or none.
	markSource = prefix + "source"
	// markParameters are those that it was made with, as url.Values writes them.
	markParameters = prefix + "parameters"
	// markGeneration counts how often another copy has become the one that is written to. 1 until there are replicas.
	markGeneration = prefix + "generation"
	// markFormatting is there from before a file system is made until it is whole.
	markFormatting = prefix + "formatting"
)

// User properties of a snapshot.
const (
	// markSnapshot is the name that the snapshot was made with. One that has another now, or none, is none of Kubernetes's; and one without is none of the
	// driver's, whatever its name.
	markSnapshot = prefix + "snapshot"
	// markGroup is the id of the group that it was made in.
	markGroup = prefix + "group"
)

// none is a value that is not there: ZFS keeps an empty one, but its programs show it as '-'.
const none = "none"

// volumeProperties are what is asked of a dataset.
func volumeProperties() []string {
	return []string{
		markVolume, markCapacity, markFileSystem, markSource, markParameters, markGeneration, markFormatting,
		"origin", "volsize", "volblocksize", "volmode", "refquota", "refreservation",
	}
}

// snapshotProperties are what is asked of a snapshot.
func snapshotProperties() []string { return []string{markSnapshot, markGroup, "volsize", "referenced"} }

// own is a user property that is set on the dataset itself, or came with it from another machine; not one of a dataset above.
func own(d zfs.Dataset, name string) string {
	p := d.Properties[name]
	if p.Source != zfs.SourceLocal && p.Source != zfs.SourceReceived {
		return ""
	}
	return p.Value
}

// number reads a property that is one; what is none is 0.
func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}
