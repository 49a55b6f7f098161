package replication

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// act does what a state stands for.
func (w *worker) act(ctx context.Context, state State, s Step) Outcome {
	sending, receiving := w.fence(true, w.generation), w.fence(false, w.generation)
	level := w.Job.guarantee(s.Kind)
	switch state {
	case Protecting:
		return Outcome{Err: w.Sender.Protect(ctx, ProtectRequest{
			Fence: sending, FileSystem: s.Source, From: s.From.GUID, To: s.To.GUID, Hold: level == Resumable, Cursor: level != Nothing,
		})}
	case Transferring:
		return Outcome{Err: w.transfer(ctx, s)}
	case Inspecting:
		listing, err := w.Receiver.List(ctx, ListRequest{Job: w.Job.ID, Roots: []string{s.Target}})
		return Outcome{Err: err, Found: listing.Find(s.Target)}
	case Aborting:
		return Outcome{Err: w.Receiver.Abort(ctx, AbortRequest{Fence: receiving, FileSystem: s.Target, To: s.Abort})}
	case Checking:
		return w.check(ctx, s)
	case Completing:
		return Outcome{Err: w.Receiver.Complete(ctx, CompleteRequest{
			Fence: receiving, FileSystem: s.Target, To: s.To.GUID, Hold: w.Job.Guarantee != Nothing, Encryption: w.Job.Encryption,
		})}
	case Advancing:
		return Outcome{Err: w.Sender.Advance(ctx, AdvanceRequest{
			Fence: sending, FileSystem: s.Source, To: s.To.GUID, Cursor: w.Job.Guarantee != Nothing,
		})}
	}
	return Outcome{Err: fmt.Errorf("replicate %s: no action for %s", s.Source, state)}
}

func (r *Runner) sendRequest(s Step, generation uint64) SendRequest {
	return SendRequest{
		Fence: r.fence(true, generation), FileSystem: s.Source, From: s.From.GUID, To: s.To.GUID, Token: s.Token,
		Stream: r.Job.Stream, Properties: r.Job.Properties,
	}
}

// stuckTimeout is for the next piece of a stream to come and to be taken, on this machine too, and for what comes behind its end. It is longer than the other machine is
// waited for (package peer), which says more of it.
const stuckTimeout = 40 * time.Minute

// errStuck is why a transfer ends on which nothing happens.
var errStuck = fmt.Errorf("one side %w: nothing of the stream was sent and taken for %s; a pool may be suspended, or its disks may not answer: see nodectl pool status",
	ErrStalled, stuckTimeout)

// transfer connects the two sides. Where both fail, the sender's error is the cause: the receiver saw a cut stream. What the kernel holds on this machine, as of a pool that
// stopped in the middle, keeps the run from nothing else for good.
func (w *worker) transfer(ctx context.Context, s Step) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stuck := time.AfterFunc(stuckTimeout, func() { cancel(errStuck) })
	defer stuck.Stop()
	stream, err := w.Sender.Send(ctx, w.sendRequest(s, w.generation))
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	meter := &meter{ctx: ctx, r: stream, limiter: w.limiter, count: func(n int) {
		stuck.Reset(stuckTimeout)
		w.counted(s.Source, n)
	}}
	err = w.Receiver.Receive(ctx, ReceiveRequest{
		Fence: w.fence(false, w.generation), FileSystem: s.Target, Source: s.SourceGUID, Kind: s.DatasetKind, From: s.From.GUID, To: s.To.GUID,
		Over: s.Over, Stream: w.Job.Stream, Encryption: w.Job.Encryption, Properties: w.Job.Properties,
	}, meter)
	closed := stream.Close()
	switch failed := meter.failure(); {
	case failed != nil:
		return fmt.Errorf("send: %w", errors.Join(failed, err))
	case err != nil:
		return fmt.Errorf("receive: %w", err)
	case closed != nil:
		return fmt.Errorf("send: %w", closed)
	}
	return nil
}

// counted tells of bytes that went over.
func (w *worker) counted(source string, n int) {
	w.board.add(source, n)
	if w.Count != nil {
		w.Count(source, n)
	}
}

// burstBytes is the most that one read takes of a limited stream.
const burstBytes = 256 << 10

// meter counts and slows down a stream, and remembers how it ended. Who reads it may leave a Read behind when ctx ends.
type meter struct {
	ctx     context.Context
	r       io.Reader
	limiter *rate.Limiter
	count   func(int)

	mu  sync.Mutex
	err error
}

// Read implements io.Reader.
func (m *meter) Read(p []byte) (int, error) {
	if m.limiter != nil && len(p) > burstBytes {
		p = p[:burstBytes]
	}
	n, err := m.r.Read(p)
	m.count(n)
	if m.limiter != nil && n > 0 {
		if limited := m.limiter.WaitN(m.ctx, n); limited != nil && err == nil {
			err = limited
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		m.mu.Lock()
		m.err = err
		m.mu.Unlock()
	}
	return n, err
}

// failure is why the stream ended early, as far as that is known; nil if it did not.
func (m *meter) failure() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// check compares the contents of a snapshot on both sides.
func (w *worker) check(ctx context.Context, s Step) Outcome {
	mine, err := w.Sender.Checksum(ctx, ChecksumRequest{Job: w.Job.ID, FileSystem: s.Source, To: s.To.GUID})
	if err != nil {
		return Outcome{Err: err}
	}
	theirs, err := w.Receiver.Checksum(ctx, ChecksumRequest{Job: w.Job.ID, FileSystem: s.Target, To: s.To.GUID})
	return Outcome{Err: err, Differs: !bytes.Equal(mine, theirs)}
}
