package peer

import (
	"context"
	"errors"
	"fmt"
	"io"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/replication/endpoint"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// part finds what a request for a stream is of.
func (g *Guard) part(p *replicationv1.Part) (*endpoint.Local, replication.SendRequest, error) {
	a, local, err := g.let(p.GetJob(), sending, p.GetFileSystem())
	if err == nil {
		err = a.sameStream(p.GetStream())
	}
	if err != nil {
		return nil, replication.SendRequest{}, err
	}
	return local, replication.SendRequest{
		Fence: a.fence(p.GetGeneration()), FileSystem: p.GetFileSystem(), From: zfs.GUID(p.GetFromGuid()), To: zfs.GUID(p.GetToGuid()), Token: p.GetToken(),
		Stream: a.Job.Stream,
	}, nil
}

// Estimate implements server.PeerCalls.
func (g *Guard) Estimate(ctx context.Context, r *replicationv1.EstimateRequest) (uint64, error) {
	local, request, err := g.part(r.GetPart())
	if err != nil {
		return 0, err
	}
	bytes, err := local.Estimate(ctx, request)
	return bytes, toStatus(err)
}

// Send implements server.PeerCalls.
func (g *Guard) Send(ctx context.Context, r *replicationv1.SendRequest, send func([]byte) error) error {
	local, request, err := g.part(r.GetPart())
	if err != nil {
		return err
	}
	ctx, end := g.stream(ctx, request.Job)
	defer end()
	stream, err := local.Send(ctx, request)
	if err != nil {
		return toStatus(err)
	}
	err = relay(stream, send)
	// Closed before the answer goes out, so that the snapshot is let go of by then.
	if closed := stream.Close(); err == nil && closed != nil {
		err = closed
	}
	return toStatus(err)
}

// relay hands a stream on in pieces.
func relay(stream io.Reader, send func([]byte) error) error {
	buffer := make([]byte, sendPieceBytes)
	for {
		n, err := stream.Read(buffer)
		if n > 0 {
			if err := send(buffer[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read stream: %w", err)
		}
	}
}

// Protect implements server.PeerCalls.
func (g *Guard) Protect(ctx context.Context, r *replicationv1.ProtectRequest) error {
	a, local, err := g.let(r.GetJob(), sending, r.GetFileSystem())
	if err != nil {
		return err
	}
	return toStatus(local.Protect(ctx, replication.ProtectRequest{
		Fence: a.fence(r.GetGeneration()), FileSystem: r.GetFileSystem(), From: zfs.GUID(r.GetFromGuid()), To: zfs.GUID(r.GetToGuid()),
		Hold: r.GetHold(), Cursor: r.GetCursor(),
	}))
}

// Advance implements server.PeerCalls.
func (g *Guard) Advance(ctx context.Context, r *replicationv1.AdvanceRequest) error {
	a, local, err := g.let(r.GetJob(), sending, r.GetFileSystem())
	if err != nil {
		return err
	}
	return toStatus(local.Advance(ctx, replication.AdvanceRequest{
		Fence: a.fence(r.GetGeneration()), FileSystem: r.GetFileSystem(), To: zfs.GUID(r.GetToGuid()), Cursor: r.GetCursor(),
	}))
}

// Freeze implements server.PeerCalls.
func (g *Guard) Freeze(ctx context.Context, r *replicationv1.FreezeRequest) error {
	a, local, err := g.let(r.GetJob(), back)
	if err != nil {
		return err
	}
	if err := zfs.CheckSnapshotName(r.GetSnapshot()); err != nil {
		return toStatus(err)
	}
	return toStatus(local.Freeze(ctx, replication.FreezeRequest{Fence: a.fence(r.GetGeneration()), Snapshot: r.GetSnapshot()}))
}
