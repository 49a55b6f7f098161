package peer

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	"github.com/cyvive/cyvive/internal/storage/replication"
)

// silentNode is another node that answers nothing more, once it was called.
type silentNode struct {
	replicationv1.PeerServiceClient
}

func (silentNode) Send(ctx context.Context, _ *replicationv1.SendRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[replicationv1.SendResponse], error) {
	return &silentStream{ctx: ctx}, nil
}

func (silentNode) Receive(ctx context.Context, _ ...grpc.CallOption) (grpc.ClientStreamingClient[replicationv1.ReceiveRequest, replicationv1.ReceiveResponse], error) {
	return &deafStream{ctx: ctx}, nil
}

type silentStream struct {
	grpc.ClientStream
	ctx context.Context
}

func (s *silentStream) Recv() (*replicationv1.SendResponse, error) {
	<-s.ctx.Done()
	return nil, status.FromContextError(s.ctx.Err()).Err()
}

type deafStream struct {
	grpc.ClientStream
	ctx context.Context
}

// Send takes the header.
func (s *deafStream) Send(r *replicationv1.ReceiveRequest) error {
	if r.GetHeader() != nil {
		return nil
	}
	<-s.ctx.Done()
	return io.EOF
}

func (s *deafStream) CloseAndRecv() (*replicationv1.ReceiveResponse, error) {
	<-s.ctx.Done()
	return nil, status.FromContextError(s.ctx.Err()).Err()
}

// TestSilentNode: a node on which nothing happens is not waited for without end.
func TestSilentNode(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r := &Remote{client: silentNode{}, stall: 50 * time.Millisecond}
	if _, err := r.Send(ctx, replication.SendRequest{}); !errors.Is(err, errStalled) {
		t.Errorf("a stream from it: %v", err)
	}
	if err := r.Receive(ctx, replication.ReceiveRequest{}, strings.NewReader("stream")); !errors.Is(err, errStalled) {
		t.Errorf("a stream to it: %v", err)
	}
	if err := r.Receive(ctx, replication.ReceiveRequest{}, strings.NewReader("")); !errors.Is(err, errStalled) {
		t.Errorf("its answer: %v", err)
	}
}

// endlessNode is another node whose listing does not end, or at least not soon.
type endlessNode struct {
	replicationv1.PeerServiceClient
}

func (endlessNode) Look(context.Context, *replicationv1.LookRequest, ...grpc.CallOption) (grpc.ServerStreamingClient[replicationv1.LookResponse], error) {
	return &endlessListing{of: &replicationv1.LookResponse{FileSystems: []*replicationv1.FileSystem{
		{Name: "tank/a", Kind: replicationv1.Kind_KIND_FILESYSTEM, Token: strings.Repeat("x", 1<<19)},
	}}}, nil
}

type endlessListing struct {
	grpc.ClientStream
	of   *replicationv1.LookResponse
	sent int
}

func (e *endlessListing) Recv() (*replicationv1.LookResponse, error) {
	if e.sent++; e.sent > 1000 {
		return nil, io.EOF
	}
	return e.of, nil
}

// TestEndlessListing: what another node says that it has does not take all memory.
func TestEndlessListing(t *testing.T) {
	r := &Remote{client: endlessNode{}}
	if _, err := r.List(t.Context(), replication.ListRequest{}); err == nil || !strings.Contains(err.Error(), "more than 64 MiB") {
		t.Errorf("got %v", err)
	}
}

// TestLongText: what another node says of an error is cut, too.
func TestLongText(t *testing.T) {
	err := fromStatus(t.Context(), status.Error(codes.PermissionDenied, strings.Repeat("x", 1<<20)))
	if n := len(err.Error()); n > maxTextBytes+100 || !errors.Is(err, ErrRefused) {
		t.Errorf("%d bytes", n)
	}
}
