package replication

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// worker carries the steps of a plan out.
type worker struct {
	*Runner
	generation uint64
	board      *board
	limiter    *rate.Limiter

	mu   sync.Mutex
	wake *sync.Cond
	// left are the steps not begun; busy are file systems with a step in progress, failed those that have no further steps in this run, by target.
	left   []Step
	busy   map[string]bool
	failed map[string]error
	// hangs counts the file systems that failed as nothing answers; hung is why no further step is begun, nil where there is nothing.
	hangs int
	hung  error
}

// work does the steps, some at once, in their order as far as that goes.
func (r *Runner) work(ctx context.Context, generation uint64, steps []Step) []Progress {
	w := &worker{
		Runner: r, generation: generation, board: newBoard(steps, r.Notify), limiter: r.limiter(),
		left: steps, busy: map[string]bool{}, failed: map[string]error{},
	}
	w.wake = sync.NewCond(&w.mu)
	var wait sync.WaitGroup
	for range orDefault(r.Job.Steps, 1) {
		wait.Go(func() {
			for s, ok := w.take(); ok; s, ok = w.take() {
				w.done(s, w.step(ctx, s))
			}
		})
	}
	wait.Wait()
	return w.board.all()
}

// take waits for a step that can be begun; ok is false when there will be none.
func (w *worker) take() (s Step, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		w.drop()
		if len(w.left) == 0 {
			return Step{}, false
		}
		seen := map[string]bool{}
		for i, s := range w.left {
			// Nothing is begun before an earlier step of its own, or of one above it: that one may make what it is received below.
			if above := parentOf(s.Target); w.busy[s.Target] || seen[s.Target] || w.busy[above] || seen[above] {
				seen[s.Target] = true
				continue
			}
			w.left = append(w.left[:i:i], w.left[i+1:]...)
			w.busy[s.Target] = true
			return s, true
		}
		w.wake.Wait()
	}
}

// hangsMost is how many file systems may fail as nothing answers before no others are begun. With one alone it may be the file system: it would keep all others from
// being begun, in each run again.
const hangsMost = 2

// drop takes steps out that wait for one that failed, and all of them where some have failed as nothing answers: each would take as long to find that out.
func (w *worker) drop() {
	var kept []Step
	for _, s := range w.left {
		above := parentOf(s.Target)
		switch {
		case w.failed[s.Target] != nil:
			continue
		case w.hung != nil:
			err := fmt.Errorf("not begun, as it would hang too: %w", w.hung)
			w.failed[s.Target] = err
			w.board.update(s.Source, func(p *Progress) { p.Err, p.Reason = err, err.Error() })
			continue
		case w.failed[above] != nil && s.Kind != StepIncremental && s.Kind != StepFinish:
			err := fmt.Errorf("wait for %s, above it: %w", above, w.failed[above])
			w.failed[s.Target] = err
			w.board.update(s.Source, func(p *Progress) { p.Err, p.Reason = err, err.Error() })
			continue
		}
		kept = append(kept, s)
	}
	w.left = kept
}

func (w *worker) done(s Step, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.busy, s.Target)
	if err != nil {
		w.failed[s.Target] = err
	}
	if hangs(err) {
		if w.hangs++; w.hangs == hangsMost {
			w.hung = err
		}
	}
	w.wake.Broadcast()
}

// hangs says of an error that a pool or the other side does not answer.
func hangs(err error) bool {
	return errors.Is(err, ErrStalled) || errors.Is(err, zfs.ErrSuspended) || errors.Is(err, context.DeadlineExceeded)
}

// step takes one to its end.
func (w *worker) step(ctx context.Context, s Step) error {
	var err error
	if s.Kind == StepPlaceholder {
		err = w.Receiver.Placeholder(ctx, PlaceholderRequest{Fence: w.fence(false, w.generation), FileSystem: s.Target, Encryption: w.Job.Encryption})
	} else {
		err = w.machine(ctx, s)
	}
	w.board.update(s.Source, func(p *Progress) {
		p.Now, p.Reason, p.Err = "", "", err
		switch {
		case err != nil:
			p.Reason = err.Error()
		case s.Kind == StepInitial || s.Kind == StepIncremental:
			p.StepsDone++
		}
	})
	return err
}

func (w *worker) policy() Policy {
	p := w.Policy
	p.Checksum = p.Checksum || w.Job.Checksum
	if p.Attempts == 0 {
		p.Attempts = orDefault(w.Job.Attempts, 5)
	}
	if p.First == 0 {
		p.First, p.Most = time.Second, time.Minute
	}
	return p
}

// machine runs the machine of a step.
func (w *worker) machine(ctx context.Context, s Step) error {
	m := NewMachine(s, w.policy())
	for {
		w.board.update(s.Source, func(p *Progress) { p.Now, p.Reason = m.State(), m.Reason() })
		switch m.State() {
		case Done:
			return nil
		case Failed:
			return m.Err()
		case Waiting:
			if err := w.sleep(ctx, m.Until()); err != nil {
				return fmt.Errorf("%w, while it waited: %w", err, m.Err())
			}
			m.Advance(m.Until(), Outcome{})
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		o := w.act(ctx, m.State(), m.Step)
		m.Advance(w.now(), o)
	}
}

func (w *worker) now() time.Time {
	if w.Now != nil {
		return w.Now()
	}
	return time.Now()
}

func (w *worker) sleep(ctx context.Context, until time.Time) error {
	if w.Sleep != nil {
		return w.Sleep(ctx, until)
	}
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
