package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	"github.com/cyvive/cyvive/internal/storage/replication"
)

const (
	// sendPieceBytes is a piece of a stream that a node sends to its caller.
	sendPieceBytes = 256 << 10
	// receivePieceBytes is a piece of one that a caller sends to a node, whose requests have 64 KiB at most.
	receivePieceBytes = 60 << 10
	// idlePause is after how long without data a caller says that it is still there. The API gives up on one that says nothing for 20 s.
	idlePause = 5 * time.Second
)

// Send implements replication.Sender. It returns once the first piece has come, so that what the other node refuses is an error of Send's.
func (r *Remote) Send(ctx context.Context, q replication.SendRequest) (io.ReadCloser, error) {
	calling, cancel := context.WithCancelCause(ctx)
	stream, err := r.client.Send(calling, &replicationv1.SendRequest{Part: partToProto(q)})
	if err != nil {
		cancel(nil)
		return nil, fromStatus(ctx, err)
	}
	in := &incoming{ctx: ctx, calling: calling, cancel: cancel, stream: stream, stall: r.stall}
	if in.next(); in.err != nil && !errors.Is(in.err, io.EOF) {
		cancel(nil)
		return nil, in.err
	}
	return in, nil
}

// stalls ends a call with errStalled unless what is returned is stopped in time.
func stalls(after time.Duration, cancel context.CancelCauseFunc) *time.Timer {
	return time.AfterFunc(after, func() { cancel(errStalled) })
}

// ended is the error of a call: that nothing happened on it, or else its own.
func ended(ctx, calling context.Context, err error) error {
	if err != nil && ctx.Err() == nil && context.Cause(calling) == errStalled {
		return errStalled
	}
	return err
}

// incoming is a stream that comes from the other node. It ends with io.EOF only if that said that it was whole.
type incoming struct {
	ctx, calling context.Context
	cancel       context.CancelCauseFunc
	stream       grpc.ServerStreamingClient[replicationv1.SendResponse]
	stall        time.Duration
	rest         []byte
	err          error
}

// next waits for a piece.
func (i *incoming) next() {
	timer := stalls(i.stall, i.cancel)
	m, err := i.stream.Recv()
	timer.Stop()
	switch {
	case errors.Is(err, io.EOF):
		i.err = io.EOF
	case err != nil:
		i.err = ended(i.ctx, i.calling, fromStatus(i.ctx, err))
	default:
		i.rest = m.GetData()
	}
}

// Read implements io.Reader.
func (i *incoming) Read(p []byte) (int, error) {
	for len(i.rest) == 0 {
		if i.err != nil {
			return 0, i.err
		}
		i.next()
	}
	n := copy(p, i.rest)
	i.rest = i.rest[n:]
	return n, nil
}

// Close implements io.Closer. The other node ends its program when it hears of it.
func (i *incoming) Close() error {
	i.cancel(nil)
	return nil
}

// Receive implements replication.Receiver. It returns when the Read that is under way has, or with ctx.
func (r *Remote) Receive(ctx context.Context, q replication.ReceiveRequest, stream io.Reader) error {
	calling, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out, err := r.client.Receive(calling)
	if err != nil {
		return fromStatus(ctx, err)
	}
	header := &replicationv1.ReceiveHeader{
		Job: q.Job, Generation: q.Generation, FileSystem: q.FileSystem, Source: uint64(q.Source), Kind: kindToProto(q.Kind),
		FromGuid: uint64(q.From), ToGuid: uint64(q.To), Over: q.Over, Stream: q.Stream.String(),
	}
	if err := out.Send(&replicationv1.ReceiveRequest{Part: &replicationv1.ReceiveRequest_Header{Header: header}}); err != nil {
		return answered(ctx, out)
	}
	pieces, read := readAhead(calling, stream)
	err = feed(calling, &outgoing{out, r.stall, cancel}, pieces)
	if broken, ok := errors.AsType[*streamError](err); ok {
		sayCut(calling, func() { cancel(nil) }, out, broken)
	} else {
		// Either all is sent, or the other node has said why it takes no more.
		timer := stalls(r.stall, cancel)
		err = ended(ctx, calling, answered(ctx, out))
		timer.Stop()
	}
	cancel(nil)
	select {
	case <-read:
	case <-ctx.Done():
	}
	return err
}

// outgoing is a stream that goes to the other node.
type outgoing struct {
	stream grpc.ClientStreamingClient[replicationv1.ReceiveRequest, replicationv1.ReceiveResponse]
	stall  time.Duration
	cancel context.CancelCauseFunc
}

// send waits until the other node has room for a piece.
func (o *outgoing) send(data []byte) error {
	timer := stalls(o.stall, o.cancel)
	defer timer.Stop()
	return o.stream.Send(&replicationv1.ReceiveRequest{Part: &replicationv1.ReceiveRequest_Data{Data: data}})
}

// answered is how the other node ends a call.
func answered(ctx context.Context, out grpc.ClientStreamingClient[replicationv1.ReceiveRequest, replicationv1.ReceiveResponse]) error {
	_, err := out.CloseAndRecv()
	return fromStatus(ctx, err)
}

// cutTimeout is how long the other node may take to put away what has arrived of a stream that was cut.
const cutTimeout = time.Minute

// sayCut tells the other node that the stream does not go on, and waits until it has put away what arrived: what it is asked next is answered by that.
func sayCut(
	ctx context.Context, cancel context.CancelFunc, out grpc.ClientStreamingClient[replicationv1.ReceiveRequest, replicationv1.ReceiveResponse], why error,
) {
	stop := time.AfterFunc(cutTimeout, cancel)
	defer stop.Stop()
	if out.Send(&replicationv1.ReceiveRequest{Part: &replicationv1.ReceiveRequest_Cut{Cut: valid(why.Error())}}) == nil {
		_ = answered(ctx, out) // an error, as it should be
	}
}

// streamError is an error of the stream that is sent, which the other node must not take for its end.
type streamError struct{ err error }

// Error implements error.
func (e *streamError) Error() string { return fmt.Sprintf("read stream: %v", e.err) }

// Unwrap returns the cause.
func (e *streamError) Unwrap() error { return e.err }

// piece is a part of a stream. Done gives its memory back.
type piece struct {
	data []byte
	err  error
	done func()
}

// readAhead reads a stream, a piece ahead of who takes them, until it ends or ctx does. Ended is closed when it reads no more.
func readAhead(ctx context.Context, stream io.Reader) (pieces <-chan piece, ended <-chan struct{}) {
	out, done, free := make(chan piece), make(chan struct{}), make(chan []byte, 2)
	free <- make([]byte, receivePieceBytes)
	free <- make([]byte, receivePieceBytes)
	go func() {
		defer close(done)
		for {
			var buffer []byte
			select {
			case buffer = <-free:
			case <-ctx.Done():
				return
			}
			n, err := stream.Read(buffer)
			select {
			case out <- piece{data: buffer[:n], err: err, done: func() { free <- buffer }}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return out, done
}

// feed sends pieces until the stream ends, which is nil, or the other node takes no more or ctx ends, which is io.EOF.
func feed(ctx context.Context, out *outgoing, pieces <-chan piece) error {
	ticker := time.NewTicker(idlePause)
	defer ticker.Stop()
	for {
		select {
		case p := <-pieces:
			if len(p.data) > 0 {
				if err := out.send(p.data); err != nil {
					return err
				}
				ticker.Reset(idlePause)
			}
			switch {
			case errors.Is(p.err, io.EOF):
				return nil
			case p.err != nil:
				return &streamError{p.err}
			}
			p.done()
		case <-ticker.C:
			if err := out.send(nil); err != nil {
				return err
			}
		case <-ctx.Done():
			return io.EOF
		}
	}
}
