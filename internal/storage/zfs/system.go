package zfs

import (
	"context"
	"io"
)

// System is one machine's datasets. All methods may be called concurrently; of two that change the same dataset one may fail with [ErrBusy]. They end with
// their context: what a program was doing is then done, or not begun, as a whole, except for a receive, which leaves a state to go on from.
//
// Errors name the command and what it said, and are one of the classes of this package where that is known.
type System interface {
	// List returns the datasets below the roots, and those themselves, of the kinds asked for, with the properties asked for. No roots means all pools.
	// It is ordered by name, and snapshots and bookmarks of one file system by CreateTXG. A root that does not exist is [ErrNotExist].
	List(ctx context.Context, q Query) ([]Dataset, error)
	// Get returns one file system or volume with all of the properties that it has, user properties among them. One that does not exist is [ErrNotExist].
	Get(ctx context.Context, name string) (Dataset, error)
	// Create makes a file system, which is not mounted, or with SizeBytes a volume. Parents are not made. What exists is [ErrExist].
	Create(ctx context.Context, name string, o CreateOptions) error
	// Set sets properties, all at once. An empty value of a user property is a value.
	Set(ctx context.Context, name string, properties map[string]string) error
	// Inherit takes a property that is set locally away. One that is not inherited, such as canmount and quotas, is [ErrInvalid].
	Inherit(ctx context.Context, name, property string) error
	// Rename renames a file system, volume or snapshot within its pool.
	Rename(ctx context.Context, from, to string) error
	// Destroy destroys one dataset of any kind, and nothing below it: children, snapshots and clones are [ErrHasDependents], holds [ErrHeld].
	Destroy(ctx context.Context, name string) error
	// DestroySnapshots destroys snapshots in one transaction: all of them, or, if one is held or cloned, none. Those that are gone already do not count.
	DestroySnapshots(ctx context.Context, names []string) error
	// Snapshot makes snapshots in one transaction, of which each name is whole. Those that exist are [ErrExist], and two
	// of one file system [ErrInvalid] (EXDEV of zfs_ioc_snapshot in module/zfs/zfs_ioctl.c); then none is made.
	Snapshot(ctx context.Context, names []string, userProperties map[string]string) error
	// Rollback takes a dataset back to its latest snapshot. If there are later snapshots or bookmarks it is [ErrHasDependents].
	Rollback(ctx context.Context, snapshot string) error
	// Clone makes a dataset of a snapshot, which is not mounted: without canmount in its properties it has noauto. Promote turns the dependency round.
	Clone(ctx context.Context, snapshot, name string, properties map[string]string) error
	Promote(ctx context.Context, name string) error
	// Bookmark makes a bookmark of a snapshot or bookmark.
	Bookmark(ctx context.Context, of, name string) error
	// Hold keeps snapshots from being destroyed: all of them, or after an error none, which a crash and the end of the context may keep from being so; a
	// hold that exists is left as it is. Release takes holds away, and those that are not there, or whose snapshot is gone, do not count. Holds returns the tags of each snapshot named.
	Hold(ctx context.Context, tag string, snapshots ...string) error
	Release(ctx context.Context, tag string, snapshots ...string) error
	Holds(ctx context.Context, snapshots ...string) (map[string][]Hold, error)
	// Send returns a stream, which has to be closed; closing it early ends the program. Reading ends with io.EOF only if the program ended well.
	Send(ctx context.Context, s SendSpec) (io.ReadCloser, error)
	// Estimate returns how many bytes a stream will have, about.
	Estimate(ctx context.Context, s SendSpec) (bytes uint64, err error)
	// Receive takes a stream to its end. With o.Resumable, what has arrived before an error is kept, and the property receive_resume_token says how to go on.
	Receive(ctx context.Context, o ReceiveSpec, stream io.Reader) error
	// AbortReceive throws a partial receive away. None is [ErrNotExist].
	AbortReceive(ctx context.Context, name string) error
	// Token says what a resume token stands for. One that is damaged is [ErrBadToken].
	Token(ctx context.Context, token string) (Token, error)
}

// Query is what [System.List] is asked for.
type Query struct {
	Roots []string
	// Kinds are those to return; none means all.
	Kinds []Kind
	// Depth limits how far below the roots; 0 is the roots alone, with their snapshots and bookmarks, -1 all.
	Depth int
	// Alone returns the roots and nothing else, whatever Depth is; among them may be snapshots and bookmarks. What it takes does not grow with what they have. It
	// needs roots; one that does not exist makes the whole [ErrNotExist].
	Alone      bool
	Properties []string
}

// CreateOptions are what a dataset is made with.
type CreateOptions struct {
	// SizeBytes makes a volume of it; Sparse one without a reservation.
	SizeBytes  uint64
	Sparse     bool
	Properties map[string]string
}

// Hold is a user reference on a snapshot.
type Hold struct {
	Tag string
	// Since is the time in seconds of the epoch.
	Since int64
}

// SendSpec says which stream is wanted (zfs-send(8)).
type SendSpec struct {
	// Snapshot is whole. From is a snapshot or bookmark of the same file system, or its origin; empty for a full stream.
	Snapshot, From string
	// ResumeToken goes on with a stream that was cut; then nothing else is set but what the token does not carry.
	ResumeToken string
	// Large is --large-block --embed --compressed, which a series of streams must not change: a later stream without it would be refused.
	Large bool
	// Raw sends encrypted blocks as they are. Properties sends properties along.
	Raw, Properties bool
}

// ReceiveSpec says where a stream goes (zfs-receive(8)). A received file system is never mounted (-u).
type ReceiveSpec struct {
	// Name is the file system or volume, without a snapshot; the snapshot has the sender's name.
	Name string
	// Resumable keeps a partial receive (-s). Force rolls a changed destination back to its latest snapshot first, and never destroys one; what is in a
	// destination without snapshots, a full stream replaces (-F).
	Resumable, Force bool
	// Override are properties that the received dataset has whatever the stream says (-o); Exclude are not taken from it (-x).
	Override map[string]string
	Exclude  []string
	// Want is what the stream has to be: another is refused before anything is done. Nil takes any, which is for streams of this machine's own.
	Want *StreamWanted
}

// Token is what a resume token stands for (zfs send -nvt).
type Token struct {
	ToName   string
	To, From GUID
	// BytesReceived is how far the stream came.
	BytesReceived uint64
	Large, Raw    bool
}
