package replication

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// slowSender is a sender whose stream has some pieces, each after a while, and then does not go on.
type slowSender struct {
	Sender
	pieces int
}

// Send implements Sender.
func (s slowSender) Send(ctx context.Context, _ SendRequest) (io.ReadCloser, error) {
	return &slowStream{ctx, s.pieces}, nil
}

type slowStream struct {
	ctx    context.Context
	pieces int
}

// Read implements io.Reader.
func (s *slowStream) Read(p []byte) (int, error) {
	if s.pieces--; s.pieces >= 0 {
		time.Sleep(stuckTimeout / 2)
		return copy(p, "a"), nil
	}
	<-s.ctx.Done()
	return 0, context.Cause(s.ctx)
}

// Close implements io.Closer.
func (*slowStream) Close() error { return nil }

// deafReceiver is a receiver that takes what comes, or nothing.
type deafReceiver struct {
	Receiver
	takes bool
}

// Receive implements Receiver.
func (r deafReceiver) Receive(ctx context.Context, _ ReceiveRequest, stream io.Reader) error {
	if r.takes {
		_, err := io.Copy(io.Discard, stream)
		return err
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// TestStuckTransfer: a pool of this machine that stops in the middle of a stream is not waited for without end, and a stream that is slow is.
func TestStuckTransfer(t *testing.T) {
	for what, c := range map[string]struct {
		pieces int
		takes  bool
		after  time.Duration
	}{
		"nothing comes":           {0, true, stuckTimeout},
		"no more comes":           {6, true, 4 * stuckTimeout},
		"what comes is not taken": {6, false, stuckTimeout},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				step := Step{Source: "tank/a", Target: "backup/a"}
				w := &worker{Runner: &Runner{Sender: slowSender{pieces: c.pieces}, Receiver: deafReceiver{takes: c.takes}}, board: newBoard([]Step{step}, nil)}
				began := time.Now()
				err := w.transfer(t.Context(), step)
				if took := time.Since(began); !errors.Is(err, ErrStalled) || !hangs(err) || took != c.after {
					t.Errorf("after %s, want %s: %v", took, c.after, err)
				}
			})
		})
	}
}
