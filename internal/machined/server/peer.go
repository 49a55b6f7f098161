package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"google.golang.org/grpc"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
)

// peerService is the PeerService of node.replication.v1 on PeerCalls. Each request names a job, for which the caller has to be named.
type peerService struct {
	replicationv1.UnimplementedPeerServiceServer
	calls PeerCalls
	jobs  func(ctx context.Context) []string
}

// named is an error unless the configuration names the caller for the job.
func (s *peerService) named(ctx context.Context, job string) error {
	if slices.Contains(s.jobs(ctx), job) {
		return nil
	}
	return fmt.Errorf("%w: no job with the UUID %.80q of this node's configuration names the node that asks", ErrDenied, job)
}

// answer makes a call for a job, and the answer of it.
func answer[R interface{ GetJob() string }, A any](ctx context.Context, s *peerService, r R, call func(context.Context, R) error, done *A) (*A, error) {
	if err := s.named(ctx, r.GetJob()); err != nil {
		return nil, err
	}
	if err := call(ctx, r); err != nil {
		return nil, err
	}
	return done, nil
}

// Look implements replicationv1.PeerServiceServer.
func (s *peerService) Look(r *replicationv1.LookRequest, stream grpc.ServerStreamingServer[replicationv1.LookResponse]) error {
	if err := s.named(stream.Context(), r.GetJob()); err != nil {
		return err
	}
	return s.calls.Look(stream.Context(), r, stream.Send)
}

// Send implements replicationv1.PeerServiceServer.
func (s *peerService) Send(r *replicationv1.SendRequest, stream grpc.ServerStreamingServer[replicationv1.SendResponse]) error {
	if err := s.named(stream.Context(), r.GetPart().GetJob()); err != nil {
		return err
	}
	return s.calls.Send(stream.Context(), r, func(piece []byte) error { return stream.Send(&replicationv1.SendResponse{Data: piece}) })
}

// Receive implements replicationv1.PeerServiceServer.
func (s *peerService) Receive(stream grpc.ClientStreamingServer[replicationv1.ReceiveRequest, replicationv1.ReceiveResponse]) error {
	first, err := stream.Recv()
	switch {
	case errors.Is(err, io.EOF):
		return invalidf("nothing was sent, expected a header and a stream")
	case err != nil:
		return err
	case first.GetHeader() == nil:
		return invalidf("the first message has no header")
	}
	if err := s.named(stream.Context(), first.GetHeader().GetJob()); err != nil {
		return err
	}
	err = s.calls.Receive(stream.Context(), first.GetHeader(), &pieces{next: func() ([]byte, error) {
		m, err := stream.Recv()
		switch part := m.GetPart().(type) {
		case *replicationv1.ReceiveRequest_Header:
			err = invalidf("a second header came, expected data")
		case *replicationv1.ReceiveRequest_Cut:
			err = fmt.Errorf("%w: the stream was cut: %.300q", ErrUnavailable, part.Cut)
		}
		return m.GetData(), err
	}})
	if err != nil {
		return err
	}
	return stream.SendAndClose(&replicationv1.ReceiveResponse{})
}

// Learn implements replicationv1.PeerServiceServer.
func (s *peerService) Learn(ctx context.Context, r *replicationv1.LearnRequest) (*replicationv1.LearnResponse, error) {
	return answer(ctx, s, r, s.calls.Learn, &replicationv1.LearnResponse{})
}

// Clean implements replicationv1.PeerServiceServer.
func (s *peerService) Clean(ctx context.Context, r *replicationv1.CleanRequest) (*replicationv1.CleanResponse, error) {
	return answer(ctx, s, r, s.calls.Clean, &replicationv1.CleanResponse{})
}

// Checksum implements replicationv1.PeerServiceServer.
func (s *peerService) Checksum(ctx context.Context, r *replicationv1.ChecksumRequest) (*replicationv1.ChecksumResponse, error) {
	if err := s.named(ctx, r.GetJob()); err != nil {
		return nil, err
	}
	sum, err := s.calls.Checksum(ctx, r)
	if err != nil {
		return nil, err
	}
	return &replicationv1.ChecksumResponse{Sum: sum}, nil
}

// Estimate implements replicationv1.PeerServiceServer.
func (s *peerService) Estimate(ctx context.Context, r *replicationv1.EstimateRequest) (*replicationv1.EstimateResponse, error) {
	if err := s.named(ctx, r.GetPart().GetJob()); err != nil {
		return nil, err
	}
	bytes, err := s.calls.Estimate(ctx, r)
	if err != nil {
		return nil, err
	}
	return &replicationv1.EstimateResponse{Bytes: bytes}, nil
}

// Protect implements replicationv1.PeerServiceServer.
func (s *peerService) Protect(ctx context.Context, r *replicationv1.ProtectRequest) (*replicationv1.ProtectResponse, error) {
	return answer(ctx, s, r, s.calls.Protect, &replicationv1.ProtectResponse{})
}

// Advance implements replicationv1.PeerServiceServer.
func (s *peerService) Advance(ctx context.Context, r *replicationv1.AdvanceRequest) (*replicationv1.AdvanceResponse, error) {
	return answer(ctx, s, r, s.calls.Advance, &replicationv1.AdvanceResponse{})
}

// Freeze implements replicationv1.PeerServiceServer.
func (s *peerService) Freeze(ctx context.Context, r *replicationv1.FreezeRequest) (*replicationv1.FreezeResponse, error) {
	return answer(ctx, s, r, s.calls.Freeze, &replicationv1.FreezeResponse{})
}

// MakePlaceholder implements replicationv1.PeerServiceServer.
func (s *peerService) MakePlaceholder(ctx context.Context, r *replicationv1.MakePlaceholderRequest) (*replicationv1.MakePlaceholderResponse, error) {
	return answer(ctx, s, r, s.calls.MakePlaceholder, &replicationv1.MakePlaceholderResponse{})
}

// Abort implements replicationv1.PeerServiceServer.
func (s *peerService) Abort(ctx context.Context, r *replicationv1.AbortRequest) (*replicationv1.AbortResponse, error) {
	return answer(ctx, s, r, s.calls.Abort, &replicationv1.AbortResponse{})
}

// Complete implements replicationv1.PeerServiceServer.
func (s *peerService) Complete(ctx context.Context, r *replicationv1.CompleteRequest) (*replicationv1.CompleteResponse, error) {
	return answer(ctx, s, r, s.calls.Complete, &replicationv1.CompleteResponse{})
}

// Resolve implements replicationv1.PeerServiceServer.
func (s *peerService) Resolve(ctx context.Context, r *replicationv1.ResolveRequest) (*replicationv1.ResolveResponse, error) {
	return answer(ctx, s, r, s.calls.Resolve, &replicationv1.ResolveResponse{})
}
