package zfs

import "errors"

// Classes of errors. The texts by which they are known are in package command, and checked against the real programs.
var (
	// ErrNotExist: the pool, dataset, snapshot, bookmark, hold or partial receive does not exist.
	ErrNotExist = errors.New("does not exist")
	// ErrExist: what was to be made exists.
	ErrExist = errors.New("exists already")
	// ErrBusy: it is in use: mounted and open, being received into, or being changed by another.
	ErrBusy = errors.New("is in use")
	// ErrHeld: a hold keeps a snapshot.
	ErrHeld = errors.New("is held")
	// ErrHasDependents: children, later snapshots or clones are in the way.
	ErrHasDependents = errors.New("has dependents")
	// ErrInvalid: a name, property or value that ZFS does not take.
	ErrInvalid = errors.New("is not valid")
	// ErrNoSpace: the pool is full, or a quota reached.
	ErrNoSpace = errors.New("there is no room")
	// ErrReadOnly: the pool is imported read-only, or the property cannot be changed.
	ErrReadOnly = errors.New("is read-only")
	// ErrSuspended: the pool has stopped all I/O, as its devices fail, or does not answer.
	ErrSuspended = errors.New("pool I/O is suspended")
	// ErrModified: the destination of an incremental stream was written to since its latest snapshot.
	ErrModified = errors.New("destination was modified")
	// ErrNoBase: the destination does not have the snapshot that an incremental stream begins with, or its latest is another.
	ErrNoBase = errors.New("destination does not match the incremental source")
	// ErrBadStream: a stream that was cut, or that is damaged.
	ErrBadStream = errors.New("stream is incomplete or damaged")
	// ErrBadToken: a resume token that is damaged, or whose snapshot is gone or another.
	ErrBadToken = errors.New("resume token cannot be used")
	// ErrPartial: a partial receive is in the way.
	ErrPartial = errors.New("a partial receive is there")
)
