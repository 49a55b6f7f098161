package zfs

import (
	"fmt"
	"time"
)

// Kind is the type of a dataset, as zfs list -o type names it.
type Kind string

// The kinds.
const (
	Filesystem Kind = "filesystem"
	Volume     Kind = "volume"
	Snapshot   Kind = "snapshot"
	Bookmark   Kind = "bookmark"
)

// GUID identifies a pool, dataset or snapshot for its whole life, through renames; a received snapshot has that of the one that was sent. A bookmark has the
// GUID of the snapshot that it was made of. Zero is none.
type GUID uint64

// String is the decimal form, which the programs use.
func (g GUID) String() string { return fmt.Sprintf("%d", uint64(g)) }

// Dataset is a file system, volume, snapshot or bookmark.
type Dataset struct {
	// Name is whole, such as tank/a, tank/a@s or tank/a#b.
	Name string
	Kind Kind
	GUID GUID
	// CreateTXG orders snapshots and bookmarks of one file system: the clock may jump, it does not.
	CreateTXG uint64
	// Created is by the clock of the machine on which it was made, to the second.
	Created time.Time
	// Properties are those that were asked for, or all, by name. One that the dataset does not have is absent.
	Properties map[string]Property
}

// Property is a property's value and where it is from.
type Property struct {
	// Value is in the form of -p: numbers are exact, sizes in bytes.
	Value  string
	Source Source
	// From is the dataset that an inherited value is set on.
	From string
}

// Source says where a property's value is from (zfs-get(8)).
type Source string

// The sources. A property that cannot be set has none.
const (
	SourceNone      Source = "NONE"
	SourceDefault   Source = "DEFAULT"
	SourceLocal     Source = "LOCAL"
	SourceInherited Source = "INHERITED"
	SourceReceived  Source = "RECEIVED"
	SourceTemporary Source = "TEMPORARY"
)

// Change is one difference between two snapshots of a file system (zfs-diff(8)).
type Change struct {
	Kind ChangeKind
	// Path is whole, below where the file system is mounted; of a renamed file it is the one that it had, and NewPath the other.
	Path, NewPath string
}

// ChangeKind is what became of a file, as zfs diff has it.
type ChangeKind byte

// The kinds of changes (lib/libzfs/libzfs_diff.c).
const (
	Added    ChangeKind = '+'
	Removed  ChangeKind = '-'
	Modified ChangeKind = 'M'
	Renamed  ChangeKind = 'R'
)
