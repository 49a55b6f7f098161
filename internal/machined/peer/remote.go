package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

const (
	// callTimeout is for a call that has neither stream nor contents to read: what ZFS does for it waits for a transaction, and at worst for a busy pool.
	callTimeout = 10 * time.Minute
	// stallTimeout is for the next piece of a stream to come, or to be taken, and for what comes behind its end. A program looks for long through what has not changed.
	stallTimeout = 30 * time.Minute
	// maxListingBytes is the size of a listing with a million snapshots.
	maxListingBytes = 64 << 20
)

// errStalled is why a stream ends on which nothing happens.
var errStalled = fmt.Errorf("the other node %w: it has neither sent nor taken anything for %s", replication.ErrStalled, stallTimeout)

// Remote is the other side of a job. Its methods may be called concurrently. The roots of requests are those that the other node's document has; the
// ones given only narrow a listing down.
type Remote struct {
	client replicationv1.PeerServiceClient
	begins atomic.Bool
	stall  time.Duration
}

var _ replication.Side = (*Remote)(nil)

// NewRemote returns the side behind a connection, which it does not close.
func NewRemote(conn grpc.ClientConnInterface) *Remote {
	return &Remote{client: replicationv1.NewPeerServiceClient(conn), stall: stallTimeout}
}

// Begins says that a run begins with the next listing: what the other node has under way for the job is of one that died, and is ended first.
func (r *Remote) Begins() { r.begins.Store(true) }

// call makes a call that has one answer.
func call[R, A any](ctx context.Context, do func(context.Context, *R, ...grpc.CallOption) (*A, error), r *R) (*A, error) {
	bounded, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	a, err := do(bounded, r)
	return a, fromStatus(ctx, err)
}

// List implements replication.Endpoint.
func (r *Remote) List(ctx context.Context, q replication.ListRequest) (replication.Listing, error) {
	request := &replicationv1.LookRequest{Job: q.Job, Begin: r.begins.Swap(false)}
	if len(q.Roots) == 1 {
		request.FileSystem = q.Roots[0]
	}
	bounded, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var out replication.Listing
	size := 0
	stream, err := r.client.Look(bounded, request)
	for err == nil {
		var m *replicationv1.LookResponse
		if m, err = stream.Recv(); err == nil {
			if size += proto.Size(m); size > maxListingBytes {
				return replication.Listing{}, fmt.Errorf("read listing of the other node: it has more than %d MiB: expected a million snapshots at most", maxListingBytes>>20)
			}
			if err := gather(&out, m); err != nil {
				return replication.Listing{}, fmt.Errorf("read listing of the other node: %w", err)
			}
		}
	}
	if !errors.Is(err, io.EOF) {
		return replication.Listing{Roots: out.Roots}, fromStatus(ctx, err)
	}
	slices.SortStableFunc(out.FileSystems, func(a, b replication.FileSystem) int { return strings.Compare(a.Name, b.Name) })
	return out, covers(out, q.Roots)
}

// gather adds a message to a listing.
func gather(out *replication.Listing, m *replicationv1.LookResponse) error {
	for _, r := range m.GetRoots() {
		out.Roots = append(out.Roots, rootOf(r))
	}
	for _, f := range m.GetFileSystems() {
		n := len(out.FileSystems)
		if n == 0 || out.FileSystems[n-1].Name != f.GetName() {
			one, err := fileSystemOf(f)
			if err != nil {
				return err
			}
			out.FileSystems = append(out.FileSystems, one)
			n++
		}
		for _, v := range f.GetVersions() {
			one, err := versionOf(v)
			if err != nil {
				return err
			}
			last := &out.FileSystems[n-1]
			// Each part may be as long as a whole name can be.
			if _, err := zfs.ParseName(last.Whole(one)); err != nil {
				return err
			}
			last.Versions = append(last.Versions, one)
		}
	}
	return nil
}

// covers is an error where the other node's document has other roots than this one's.
func covers(l replication.Listing, roots []string) error {
	for _, want := range roots {
		if !slices.ContainsFunc(l.Roots, func(r replication.RootState) bool { return r.Name == want }) {
			return fmt.Errorf("the other node's document of the job does not name %s: sources and target have to be the same in both: %w", want, ErrRefused)
		}
	}
	return nil
}

// Learn implements replication.Endpoint.
func (r *Remote) Learn(ctx context.Context, q replication.LearnRequest) error {
	_, err := call(ctx, r.client.Learn, &replicationv1.LearnRequest{Job: q.Job, Generation: q.Generation, Primaries: q.Primaries})
	return err
}

// maxCleanNames is how many names go into one request: a request has 64 KiB at most, and a name some hundred bytes.
const maxCleanNames = 200

// Clean implements replication.Endpoint. What is much goes in parts.
func (r *Remote) Clean(ctx context.Context, q replication.CleanRequest) error {
	for len(q.StepHolds)+len(q.LastHolds)+len(q.Cursors) > 0 {
		part := &replicationv1.CleanRequest{Job: q.Job}
		for _, list := range []struct{ from, to *[]string }{{&q.StepHolds, &part.StepHolds}, {&q.LastHolds, &part.LastHolds}, {&q.Cursors, &part.Cursors}} {
			n := min(len(*list.from), maxCleanNames)
			*list.to, *list.from = (*list.from)[:n], (*list.from)[n:]
			if n > 0 {
				break
			}
		}
		if _, err := call(ctx, r.client.Clean, part); err != nil {
			return err
		}
	}
	return nil
}

// Checksum implements replication.Endpoint.
func (r *Remote) Checksum(ctx context.Context, q replication.ChecksumRequest) ([]byte, error) {
	a, err := r.client.Checksum(ctx, &replicationv1.ChecksumRequest{Job: q.Job, FileSystem: q.FileSystem, Guid: uint64(q.To)})
	return a.GetSum(), fromStatus(ctx, err)
}

func partToProto(q replication.SendRequest) *replicationv1.Part {
	return &replicationv1.Part{
		Job: q.Job, Generation: q.Generation, FileSystem: q.FileSystem, FromGuid: uint64(q.From), ToGuid: uint64(q.To), Token: q.Token,
		Stream: q.Stream.String(),
	}
}

// Estimate implements replication.Sender.
func (r *Remote) Estimate(ctx context.Context, q replication.SendRequest) (uint64, error) {
	a, err := call(ctx, r.client.Estimate, &replicationv1.EstimateRequest{Part: partToProto(q)})
	return a.GetBytes(), err
}

// Protect implements replication.Sender.
func (r *Remote) Protect(ctx context.Context, q replication.ProtectRequest) error {
	_, err := call(ctx, r.client.Protect, &replicationv1.ProtectRequest{
		Job: q.Job, Generation: q.Generation, FileSystem: q.FileSystem, FromGuid: uint64(q.From), ToGuid: uint64(q.To), Hold: q.Hold, Cursor: q.Cursor,
	})
	return err
}

// Advance implements replication.Sender.
func (r *Remote) Advance(ctx context.Context, q replication.AdvanceRequest) error {
	_, err := call(ctx, r.client.Advance, &replicationv1.AdvanceRequest{
		Job: q.Job, Generation: q.Generation, FileSystem: q.FileSystem, ToGuid: uint64(q.To), Cursor: q.Cursor,
	})
	return err
}

// Freeze implements replication.Freezer.
func (r *Remote) Freeze(ctx context.Context, q replication.FreezeRequest) error {
	_, err := call(ctx, r.client.Freeze, &replicationv1.FreezeRequest{Job: q.Job, Generation: q.Generation, Snapshot: q.Snapshot})
	return err
}

// Placeholder implements replication.Receiver.
func (r *Remote) Placeholder(ctx context.Context, q replication.PlaceholderRequest) error {
	_, err := call(ctx, r.client.MakePlaceholder, &replicationv1.MakePlaceholderRequest{Job: q.Job, Generation: q.Generation, FileSystem: q.FileSystem})
	return err
}

// Abort implements replication.Receiver.
func (r *Remote) Abort(ctx context.Context, q replication.AbortRequest) error {
	_, err := call(ctx, r.client.Abort, &replicationv1.AbortRequest{Job: q.Job, Generation: q.Generation, FileSystem: q.FileSystem, ToGuid: uint64(q.To)})
	return err
}

// Complete implements replication.Receiver.
func (r *Remote) Complete(ctx context.Context, q replication.CompleteRequest) error {
	_, err := call(ctx, r.client.Complete, &replicationv1.CompleteRequest{
		Job: q.Job, Generation: q.Generation, FileSystem: q.FileSystem, ToGuid: uint64(q.To), Hold: q.Hold,
	})
	return err
}

// Resolve implements replication.Receiver.
func (r *Remote) Resolve(ctx context.Context, q replication.ResolveRequest) error {
	_, err := call(ctx, r.client.Resolve, &replicationv1.ResolveRequest{
		Job: q.Job, Generation: q.Generation, Decision: DecisionToProto(q.Decision), Source: uint64(q.Source),
	})
	return err
}

// Promote implements replication.Receiver. A replica is promoted by a person on its own node, and by no other.
func (r *Remote) Promote(context.Context, replication.PromoteRequest) error {
	return fmt.Errorf("promote a replica on another node: %w", replication.ErrUnsupported)
}
