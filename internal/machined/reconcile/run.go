package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cyvive/cyvive/internal/machined/state"
)

// Desired is what a loop is to reach.
type Desired[Spec any] struct {
	Generation uint64
	// Spec is nil while the domain is held back; then Waits says why, in words for a person.
	Spec  *Spec
	Waits string
}

// Config holds what a loop needs beside its domain.
type Config[Spec, Status any] struct {
	// Name appears in log records.
	Name string
	// Desired returns the current desired state. It is called at the start of each pass, from the loop's goroutine.
	Desired func() Desired[Spec]
	// Wake starts a pass. Senders must not block: use a channel of capacity one and a select with default, or Waker.
	Wake <-chan struct{}
	// Ask, if set, brings functions to call between two passes, from the loop's goroutine: so that somebody can look through the domain's eyes.
	Ask <-chan func(context.Context)
	// Resync is the longest time between two passes; 0 means 5 minutes.
	Resync time.Duration
	// Backoff is the first delay after a failure, doubled with each further one up to BackoffMax; 0 means 500 ms and 30 s.
	Backoff, BackoffMax time.Duration
	// Settled, if set, tells from a Status whether the domain waits for nothing more. Until it does, passes follow each other after Poll
	// (0 means 1 s): the things waited for, such as an answer of another program, send no event.
	Settled func(Status) bool
	Poll    time.Duration
	// Again, if set, tells from a Status after what time something is due that no event tells of: the next pass is then at the latest. 0 is never. It is for
	// domains that go by the clock; what comes sooner, Poll or Resync, counts as well.
	Again func(Status) time.Duration
	// Timeout bounds one pass, but for its operations that are Lasting, before and after which it is counted anew; 0 means 10 minutes.
	Timeout time.Duration
	// Lasting bounds each of those; 0 means 6 hours.
	Lasting time.Duration
	// Publish receives each report, from the loop's goroutine. It must not block.
	Publish func(state.Report[Status])
	// Log may be nil, which discards.
	Log *slog.Logger
}

// maxRounds bounds the rounds of diff and apply in one pass; a node's encrypted volumes are made in nine. A domain that still has operations after so
// many does not converge, which is an error to be shown and not a reason to spin.
const maxRounds = 12

// ErrNotConverging ends a pass whose operations do not lead to the desired state.
var ErrNotConverging = errors.New("operations are still needed after applying all of them several times")

// Run reconciles until ctx ends, and then returns ctx's error.
func Run[Spec, Observed any, Op fmt.Stringer, Status any](
	ctx context.Context, domain Domain[Spec, Observed, Op, Status], cfg Config[Spec, Status],
) error {
	l := &loop[Spec, Observed, Op, Status]{domain: domain, cfg: withDefaults(cfg)}
	for {
		delay := l.pass(ctx)
		if err := l.wait(ctx, delay); err != nil {
			return err
		}
	}
}

// wait returns when the next pass is due, and answers who asks until then.
func (l *loop[Spec, Observed, Op, Status]) wait(ctx context.Context, delay time.Duration) error {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case do := <-l.cfg.Ask:
			do(ctx)
			continue
		case <-l.cfg.Wake:
		case <-timer.C:
		}
		return nil
	}
}

type loop[Spec, Observed any, Op fmt.Stringer, Status any] struct {
	domain   Domain[Spec, Observed, Op, Status]
	cfg      Config[Spec, Status]
	failures int
	status   Status
	logged   string
	// tried is the Report's, of the pass that goes on, and failed are its operations that have failed.
	tried  bool
	failed []string
	before failure
}

// failure is how the last pass ended, if it ended with an error.
type failure struct {
	generation uint64
	problem    string
	tried      bool
	operations []string
}

// doing is the report of an operation that begins. One that has failed in the pass before is reported with the problem of that: whoever looks at the reports would
// see the problem go and come with each pass otherwise.
func (l *loop[Spec, Observed, Op, Status]) doing(generation uint64, op Op) state.Report[Status] {
	r := state.Report[Status]{Generation: generation, Status: l.status, Doing: op.String()}
	if b := l.before; generation == b.generation && !lasts(op) && slices.Contains(b.operations, r.Doing) {
		r.Problem, r.Tried = b.problem, b.tried
	}
	return r
}

func withDefaults[Spec, Status any](cfg Config[Spec, Status]) Config[Spec, Status] {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&cfg.Resync, 5*time.Minute)
	def(&cfg.Backoff, 500*time.Millisecond)
	def(&cfg.BackoffMax, 30*time.Second)
	def(&cfg.Timeout, 10*time.Minute)
	def(&cfg.Lasting, 6*time.Hour)
	def(&cfg.Poll, time.Second)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Log = cfg.Log.With("domain", cfg.Name)
	return cfg
}

// pass makes one pass, publishes its report and returns the time until the next.
func (l *loop[Spec, Observed, Op, Status]) pass(ctx context.Context) time.Duration {
	desired := l.cfg.Desired()
	if desired.Spec == nil {
		l.failures = 0
		l.cfg.Publish(state.Report[Status]{Generation: desired.Generation, Status: l.status, Held: desired.Waits})
		return l.cfg.Resync
	}
	l.failed = nil
	err := l.converge(ctx, desired)
	if ctx.Err() != nil {
		return 0
	}
	report := state.Report[Status]{Generation: desired.Generation, Satisfied: err == nil, Status: l.status}
	if err != nil {
		report.Problem, report.Tried = err.Error(), l.tried
	}
	l.note(report.Problem)
	l.cfg.Publish(report)
	if err == nil {
		l.failures, l.before = 0, failure{}
		return l.rest()
	}
	l.failures++
	l.before = failure{desired.Generation, report.Problem, report.Tried, l.failed}
	return l.backoff()
}

// rest is the time until the next pass after one that went well.
func (l *loop[Spec, Observed, Op, Status]) rest() time.Duration {
	delay := l.cfg.Resync
	if l.cfg.Settled != nil && !l.cfg.Settled(l.status) {
		delay = l.cfg.Poll
	}
	if l.cfg.Again != nil {
		if due := l.cfg.Again(l.status); due > 0 {
			delay = min(delay, due)
		}
	}
	return delay
}

// converge applies operations until an observation needs none. It publishes each operation before it starts.
func (l *loop[Spec, Observed, Op, Status]) converge(ctx context.Context, desired Desired[Spec]) error {
	spec, end := *desired.Spec, time.Now().Add(l.cfg.Timeout)
	for range maxRounds {
		l.tried = false
		obs, err := l.observe(ctx, end, spec)
		if err != nil {
			return fmt.Errorf("observe %s: %w", l.cfg.Name, err)
		}
		l.status = l.domain.Status(spec, obs)
		ops := l.domain.Diff(spec, obs)
		if len(ops) == 0 {
			return nil
		}
		if end, err = l.round(ctx, end, desired, ops); err != nil {
			return err
		}
	}
	l.tried = true
	return ErrNotConverging
}

// round applies operations in their order, and returns until when the pass may go on. It ends with the first that fails or, where they are Parted, leaves out
// what comes after that on the same part.
func (l *loop[Spec, Observed, Op, Status]) round(ctx context.Context, end time.Time, desired Desired[Spec], ops []Op) (time.Time, error) {
	failed := map[string]bool{}
	var errs []error
	l.tried = true
	for _, op := range ops {
		part, parted := partOf(op)
		if failed[part] {
			continue
		}
		l.cfg.Publish(l.doing(desired.Generation, op))
		start := time.Now()
		err := l.apply(ctx, end, *desired.Spec, op)
		if lasts(op) {
			end = time.Now().Add(l.cfg.Timeout)
		}
		if err != nil {
			errs, l.failed = append(errs, fmt.Errorf("%s: %w", op, err)), append(l.failed, op.String())
			if !parted || ctx.Err() != nil || !time.Now().Before(end) {
				l.tried = false
				break
			}
			failed[part] = true
			continue
		}
		l.cfg.Log.Info("operation applied", "operation", op.String(), "took", time.Since(start).Round(time.Millisecond))
	}
	return end, errors.Join(errs...)
}

// partOf is the part of the machine that an operation is on, if it is Parted.
func partOf(op fmt.Stringer) (part string, parted bool) {
	p, parted := op.(Parted)
	if !parted {
		return "", false
	}
	return p.Part(), true
}

func (l *loop[Spec, Observed, Op, Status]) observe(ctx context.Context, end time.Time, spec Spec) (Observed, error) {
	why := fmt.Errorf("not done within %s, the time of a pass: %w", l.cfg.Timeout, context.DeadlineExceeded)
	ctx, cancel := context.WithDeadlineCause(ctx, end, why)
	defer cancel()
	obs, err := l.domain.Observe(ctx, spec)
	return obs, timed(ctx, err, why)
}

// apply carries out one operation until end at the latest or, if it lasts, for as long as that may take.
func (l *loop[Spec, Observed, Op, Status]) apply(ctx context.Context, end time.Time, spec Spec, op Op) error {
	why := fmt.Errorf("not done within %s, the time of a pass: %w", l.cfg.Timeout, context.DeadlineExceeded)
	if lasts(op) {
		end = time.Now().Add(l.cfg.Lasting)
		why = fmt.Errorf("not done after %s, the most that is waited for it; it is tried again, and the kernel's log may have the reason: %w",
			l.cfg.Lasting, context.DeadlineExceeded)
	}
	ctx, cancel := context.WithDeadlineCause(ctx, end, why)
	defer cancel()
	return timed(ctx, l.domain.Apply(ctx, spec, op), why)
}

// timed has an error of what was cut off say so: domains and what they call hand on the context's error, or its cause.
func timed(ctx context.Context, err, why error) error {
	if err == nil || context.Cause(ctx) != why || errors.Is(err, why) {
		return err
	}
	return fmt.Errorf("%w: %w", why, err)
}

func lasts(op fmt.Stringer) bool {
	l, ok := op.(Lasting)
	return ok && l.Lasts()
}

// note logs a problem once, and its end.
func (l *loop[Spec, Observed, Op, Status]) note(problem string) {
	switch {
	case problem == l.logged:
	case problem == "":
		l.cfg.Log.Info("recovered")
	default:
		l.cfg.Log.Warn("pass ended with an error", "error", problem)
	}
	l.logged = problem
}

// backoff doubles with each failure, up to the maximum, and takes off up to a quarter at random so that loops do not keep step.
func (l *loop[Spec, Observed, Op, Status]) backoff() time.Duration {
	d := l.cfg.Backoff << min(l.failures-1, 20)
	if d <= 0 || d > l.cfg.BackoffMax {
		d = l.cfg.BackoffMax
	}
	return d - rand.N(d/4+1)
}

// Waker starts passes of a loop. Its wakes never block and coalesce while the loop is busy.
type Waker chan struct{}

// NewWaker returns a waker whose channel goes into Config.Wake.
func NewWaker() Waker { return make(Waker, 1) }

// Wake asks for one more pass.
func (w Waker) Wake() {
	select {
	case w <- struct{}{}:
	default:
	}
}
