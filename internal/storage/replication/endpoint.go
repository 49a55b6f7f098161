package replication

import (
	"context"
	"errors"
	"io"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// ErrFenced: the other side has a higher generation, or this one has been fenced.
var ErrFenced = errors.New("is fenced by a newer generation")

// ErrUnsupported: this side cannot do it.
var ErrUnsupported = errors.New("is not supported here")

// ErrChanged: what a request names is not there any more, or is another; a new plan is needed.
var ErrChanged = errors.New("has changed meanwhile")

// ErrStalled: a side does not answer, or nothing happens on a stream.
var ErrStalled = errors.New("does not answer")

// Endpoint is what both sides do. Methods may be called concurrently, for different file systems. All of them may be repeated: what is done already
// does not count. Errors are of the classes of this package or of zfs, or a *Conflict.
type Endpoint interface {
	// List returns all below the roots. A root that is not there is no error. With an error there may be roots that were read all the same.
	List(ctx context.Context, r ListRequest) (Listing, error)
	// Learn tells a side which generation is in force. A primary of a lower one is made read-only, with all below it, and fenced.
	Learn(ctx context.Context, r LearnRequest) error
	// Clean takes holds and cursors of the job away.
	Clean(ctx context.Context, r CleanRequest) error
	// Checksum is one over the files of a snapshot, by another way than its stream. Not every side can: ErrUnsupported.
	Checksum(ctx context.Context, r ChecksumRequest) ([]byte, error)
}

// Sender is the side that has the data.
type Sender interface {
	Endpoint
	// Estimate says how long a stream will be, about.
	Estimate(ctx context.Context, r SendRequest) (bytes uint64, err error)
	// Protect keeps what a step needs.
	Protect(ctx context.Context, r ProtectRequest) error
	// Send returns the stream, which has to be closed.
	Send(ctx context.Context, r SendRequest) (io.ReadCloser, error)
	// Advance moves the cursor to what the receiver has, and lets go of what the step needed.
	Advance(ctx context.Context, r AdvanceRequest) error
}

// Receiver is the side that has the replica.
type Receiver interface {
	Endpoint
	// Placeholder makes a file system that is there only for those below it.
	Placeholder(ctx context.Context, r PlaceholderRequest) error
	// Receive takes a stream, and holds the snapshot that arrived. What arrived before an error stays, and the listing has its token.
	Receive(ctx context.Context, r ReceiveRequest, stream io.Reader) error
	// Abort throws a partial receive away, if it is still the one that is named.
	Abort(ctx context.Context, r AbortRequest) error
	// Complete checks that a snapshot has arrived and is what it should be, and takes the hold away from what was received before it.
	Complete(ctx context.Context, r CompleteRequest) error
	// Resolve carries out what was decided about a conflict.
	Resolve(ctx context.Context, r ResolveRequest) error
	// Promote makes primaries of replicas, of a generation that is higher than all known. What was received last is then the present.
	Promote(ctx context.Context, r PromoteRequest) error
}

// Freezer is what a primary can do that gives its role away.
type Freezer interface {
	// Freeze makes primaries read-only, and then a snapshot of all below the roots. They stay primaries; a promotion on the other side ends that, or one of
	// themselves, by which they are what they were before.
	Freeze(ctx context.Context, r FreezeRequest) error
}

// Side is a machine in either role.
type Side interface {
	Sender
	Receiver
	Freezer
}

// Fence goes with each request that changes something: the job, the roots of the side that is asked, and the sender's generation.
type Fence struct {
	Job        string
	Roots      []string
	Generation uint64
}

// ListRequest asks for a listing.
type ListRequest struct {
	Job   string
	Roots []string
}

// LearnRequest tells of a generation. Primaries are the roots that are fenced if they know of a lower one; the others only note it, and where there are any to be fenced,
// only those that take no writes by themselves: what is no replica and was not named may not have been there when the caller looked.
type LearnRequest struct {
	Fence
	Primaries []string
}

// CleanRequest names, whole, snapshots from which holds are taken, and cursors that are destroyed.
type CleanRequest struct {
	Job                  string
	StepHolds, LastHolds []string
	Cursors              []string
}

// ChecksumRequest names a snapshot by its GUID.
type ChecksumRequest struct {
	Job        string
	FileSystem string
	To         zfs.GUID
}

// ProtectRequest is the beginning of a step. Hold asks for step holds, Cursor for the bookmark that will be the cursor.
type ProtectRequest struct {
	Fence
	FileSystem   string
	From, To     zfs.GUID
	Hold, Cursor bool
}

// SendRequest asks for a stream: of To, from From (a snapshot or bookmark, 0 for all of it), or on from where Token says.
type SendRequest struct {
	Fence
	FileSystem string
	From, To   zfs.GUID
	Token      string
	Stream     Stream
	Properties bool
}

// AdvanceRequest is the end of a step. Cursor says whether a cursor is kept.
type AdvanceRequest struct {
	Fence
	FileSystem string
	To         zfs.GUID
	Cursor     bool
}

// PlaceholderRequest names a placeholder.
type PlaceholderRequest struct {
	Fence
	FileSystem string
	Encryption Encryption
}

// ReceiveRequest says what arrives, and what it has to be.
type ReceiveRequest struct {
	Fence
	FileSystem string
	// Source is the GUID of the dataset that is sent.
	Source   zfs.GUID
	Kind     zfs.Kind
	From, To zfs.GUID
	// Over says that a placeholder is replaced.
	Over       bool
	Stream     Stream
	Encryption Encryption
	// Properties says that the stream has the datasets' properties.
	Properties bool
}

// AbortRequest names a partial receive by what it was of.
type AbortRequest struct {
	Fence
	FileSystem string
	To         zfs.GUID
}

// CompleteRequest names what has arrived. Hold says whether it is held.
type CompleteRequest struct {
	Fence
	FileSystem string
	To         zfs.GUID
	Hold       bool
	Encryption Encryption
}

// ResolveRequest carries a decision. Source and Stream are what a replica is marked with.
type ResolveRequest struct {
	Fence
	Decision Decision
	Source   zfs.GUID
	Stream   Stream
}

// FreezeRequest names the last snapshot, by what stands behind the '@'.
type FreezeRequest struct {
	Fence
	Snapshot string
}

// PromoteRequest is carried out as a whole by being repeated until it succeeds. Decisions are those about replicas that were changed, of which the first counts
// where there are two about one. Properties are set on the roots at the end, such as mount points.
type PromoteRequest struct {
	Fence
	Decisions  []Decision
	Properties map[string]string
}
