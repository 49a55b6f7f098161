package peer

import (
	"context"
	"fmt"
	"io"
	"strings"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/replication/endpoint"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// MakePlaceholder implements server.PeerCalls.
func (g *Guard) MakePlaceholder(ctx context.Context, r *replicationv1.MakePlaceholderRequest) error {
	a, local, err := g.let(r.GetJob(), receiving, r.GetFileSystem())
	if err == nil {
		err = a.noted(ctx, local, r)
	}
	if err != nil {
		return err
	}
	return toStatus(local.Placeholder(ctx, replication.PlaceholderRequest{
		Fence: a.fence(r.GetGeneration()), FileSystem: r.GetFileSystem(), Encryption: a.Job.Encryption,
	}))
}

// Receive implements server.PeerCalls.
func (g *Guard) Receive(ctx context.Context, h *replicationv1.ReceiveHeader, stream io.Reader) error {
	a, local, err := g.let(h.GetJob(), receiving, h.GetFileSystem())
	if err == nil {
		err = a.sameStream(h.GetStream())
	}
	if err == nil {
		err = a.noted(ctx, local, h)
	}
	if err != nil {
		return err
	}
	kind, err := kindOf(h.GetKind())
	if err != nil {
		return toStatus(err)
	}
	ctx, end := g.stream(ctx, a.Job.ID)
	defer end()
	return toStatus(local.Receive(ctx, replication.ReceiveRequest{
		Fence: a.fence(h.GetGeneration()), FileSystem: h.GetFileSystem(), Source: zfs.GUID(h.GetSource()), Kind: kind,
		From: zfs.GUID(h.GetFromGuid()), To: zfs.GUID(h.GetToGuid()), Over: h.GetOver(), Stream: a.Job.Stream, Encryption: a.Job.Encryption,
	}, stream))
}

// Abort implements server.PeerCalls.
func (g *Guard) Abort(ctx context.Context, r *replicationv1.AbortRequest) error {
	a, local, err := g.let(r.GetJob(), receiving, r.GetFileSystem())
	if err != nil {
		return err
	}
	return toStatus(local.Abort(ctx, replication.AbortRequest{
		Fence: a.fence(r.GetGeneration()), FileSystem: r.GetFileSystem(), To: zfs.GUID(r.GetToGuid()),
	}))
}

// Complete implements server.PeerCalls.
func (g *Guard) Complete(ctx context.Context, r *replicationv1.CompleteRequest) error {
	a, local, err := g.let(r.GetJob(), receiving, r.GetFileSystem())
	if err != nil {
		return err
	}
	return toStatus(local.Complete(ctx, replication.CompleteRequest{
		Fence: a.fence(r.GetGeneration()), FileSystem: r.GetFileSystem(), To: zfs.GUID(r.GetToGuid()), Hold: r.GetHold(), Encryption: a.Job.Encryption,
	}))
}

// Resolve implements server.PeerCalls.
func (g *Guard) Resolve(ctx context.Context, r *replicationv1.ResolveRequest) error {
	d := decisionOf(r.GetDecision())
	named := []string{d.Target}
	if d.Kind == replication.FollowRename {
		named = append(named, d.Name)
	}
	a, local, err := g.let(r.GetJob(), receiving, named...)
	if err != nil {
		return err
	}
	if err := harmless(ctx, a, local, d); err != nil {
		return toStatus(err)
	}
	return toStatus(local.Resolve(ctx, replication.ResolveRequest{
		Fence: a.fence(r.GetGeneration()), Decision: d, Source: zfs.GUID(r.GetSource()), Stream: a.Job.Stream,
	}))
}

// harmless refuses decisions that lose something here, or would change what was promoted: those are for a person on this node.
func harmless(ctx context.Context, a Allowed, local *endpoint.Local, d replication.Decision) error {
	switch d.Kind {
	case replication.RollBack:
		if len(d.Destroys) > 0 || d.Changes {
			return errDenied("%s: that destroys something on this node, and is decided on it by a person: nodectl snapshot rollback", d)
		}
		return unpromoted(ctx, a, local, d.Target) // what is rolled back is a replica from then on
	case replication.SetAside:
		// Only beside itself: a rename to another place could put it in the way of something else.
		if rest, ok := strings.CutPrefix(d.Name, d.Target+".aside-"); !ok || rest == "" || strings.Contains(rest, "/") {
			return errDenied("set %.300s aside as %.300s: expected a name beside it", d.Target, d.Name)
		}
		return unpromoted(ctx, a, local, d.Target) // it would be taken away from who uses it
	case replication.Adopt:
		return unpromoted(ctx, a, local, d.Target)
	case replication.FollowRename, replication.AbortPartial:
	default:
		return fmt.Errorf("%w: %.40q is no decision that is known", zfs.ErrInvalid, d.Kind)
	}
	return nil
}

// unpromoted refuses what would take a dataset away from a tree that a failover here has made the primary, or make a replica of it. A root that is a placeholder says
// no more than of which generation it is, which it may have had from the start: what is a replica of the job below it was not promoted.
func unpromoted(ctx context.Context, a Allowed, local *endpoint.Local, target string) error {
	states, err := local.Roots(ctx, a.roots())
	if err != nil {
		return err
	}
	for _, root := range states {
		within := target == root.Name || strings.HasPrefix(target, root.Name+"/")
		if !within || root.Generation == 0 || root.Fenced || root.Replica != "" {
			continue
		}
		if replica, err := replicaOf(ctx, local, target); err != nil || !root.Promoting && replica == a.Job.ID {
			return err
		}
		return errDenied("decide about %.300s: its tree was promoted, and is the primary", target)
	}
	return nil
}

// replicaOf is the job of which a dataset is a replica; empty where it is none.
func replicaOf(ctx context.Context, local *endpoint.Local, name string) (string, error) {
	states, err := local.Roots(ctx, []string{name})
	if err != nil {
		return "", err
	}
	return states[0].Replica, nil
}
