package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/machined/state"
)

// counter is a domain that counts up to its specification, one operation a step.
type counter struct {
	mu      sync.Mutex
	value   int
	passes  int
	applied []step
	// fail is the error of the next calls of Apply, observeErr that of Observe; stuck makes Apply do nothing.
	fail, observeErr error
	stuck            bool
	delay            time.Duration
}

type step int

func (s step) String() string { return fmt.Sprintf("count to %d", int(s)) }

// Lasts says that steps from 100 on take as long as they do.
func (s step) Lasts() bool { return s >= 100 }

type count struct {
	Value int
	Ready bool
}

func (c *counter) Observe(context.Context, int) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.passes++
	return c.value, c.observeErr
}

func (c *counter) Diff(spec, obs int) []step {
	var out []step
	for v := obs + 1; v <= spec; v++ {
		out = append(out, step(v))
	}
	return out
}

func (c *counter) Apply(ctx context.Context, _ int, op step) error {
	if !sleepFor(ctx, c.delay) {
		return ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail != nil {
		return c.fail
	}
	c.applied = append(c.applied, op)
	if !c.stuck {
		c.value = int(op)
	}
	return nil
}

func (c *counter) Status(spec, obs int) count { return count{obs, obs >= spec} }

func (c *counter) set(do func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	do()
}

func sleepFor(ctx context.Context, d time.Duration) bool {
	if d == 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// harness runs a loop on a counter within a bubble of fake time.
type harness struct {
	*counter
	waker   Waker
	desired *state.Store[Desired[int]]
	mu      sync.Mutex
	reports []state.Report[count]
}

func (h *harness) want(generation uint64, spec int) {
	h.desired.Update(func(Desired[int]) Desired[int] { return Desired[int]{Generation: generation, Spec: &spec} })
	h.waker.Wake()
}

func (h *harness) last() state.Report[count] {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.reports[len(h.reports)-1]
}

func run(t *testing.T, test func(t *testing.T, h *harness), options ...func(*Config[int, count])) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &harness{counter: &counter{}, waker: NewWaker(), desired: state.New(Desired[int]{Waits: "nothing is wanted yet"})}
		cfg := Config[int, count]{
			Name: "counter", Wake: h.waker, Resync: time.Hour,
			Desired: func() Desired[int] { d, _ := h.desired.Get(); return d },
			Publish: func(r state.Report[count]) {
				h.mu.Lock()
				defer h.mu.Unlock()
				h.reports = append(h.reports, r)
			},
		}
		for _, o := range options {
			o(&cfg)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- Run(ctx, h.counter, cfg) }()
		synctest.Wait()
		test(t, h)
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v", err)
		}
	})
}

func TestConvergesAndPublishesTheGeneration(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		if got := h.last(); got.Held != "nothing is wanted yet" || got.Satisfied || got.Waits() != got.Held {
			t.Errorf("held back: %+v", got)
		}
		h.want(7, 3)
		synctest.Wait()
		if d := cmp.Diff(state.Report[count]{Generation: 7, Satisfied: true, Status: count{3, true}}, h.last()); d != "" {
			t.Errorf("report (-want +got):\n%s", d)
		}
		if d := cmp.Diff([]step{1, 2, 3}, h.applied); d != "" {
			t.Errorf("operations (-want +got):\n%s", d)
		}
		if h.reports[1].Doing != "count to 1" || h.reports[1].Satisfied {
			t.Errorf("report before the first operation: %+v", h.reports[1])
		}
	})
}

func TestWakesCoalesce(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		h.set(func() { h.delay = time.Second })
		h.want(1, 1)
		synctest.Wait()
		for range 100 {
			h.waker.Wake()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		// One pass observes before and after its operation; a hundred wakes during it make one more.
		if h.passes != 3 {
			t.Errorf("%d observations, want 3", h.passes)
		}
	})
}

func TestBacksOffWithJitterAndRecovers(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		h.set(func() { h.fail = errors.New("no luck") })
		start := time.Now()
		h.want(1, 1)
		synctest.Wait()
		if got := h.last(); got.Problem != "count to 1: no luck" || got.Waits() != got.Problem || got.Satisfied || got.Tried {
			t.Errorf("report of a failure: %+v", got)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		// 0.5, 1, 2, … 16 s, then 30 s each, less up to a quarter.
		if h.passes < 22 || h.passes > 36 {
			t.Errorf("%d passes in ten minutes of failures", h.passes)
		}
		h.set(func() { h.fail = nil })
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if got := h.last(); !got.Satisfied || got.Problem != "" {
			t.Errorf("%s after the start: %+v", time.Since(start), got)
		}
	})
}

// TestTriesAgain: the problem of an operation is reported while that is tried again, and not when another begins or something else is wanted.
func TestTriesAgain(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		h.set(func() { h.fail, h.delay = errors.New("no luck"), time.Millisecond })
		h.want(1, 2)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		h.mu.Lock()
		begun := slices.IndexFunc(h.reports, func(r state.Report[count]) bool { return r.Problem != "" })
		for _, r := range h.reports[begun:] {
			if r.Problem != "count to 1: no luck" || r.Waits() != r.Problem || r.Doing != "" && r.Doing != "count to 1" {
				t.Errorf("report of an operation that fails again: %+v", r)
			}
		}
		end := len(h.reports)
		h.mu.Unlock()
		if end < begun+20 {
			t.Errorf("%d reports in ten minutes", end-begun)
		}
		h.want(2, 2)
		synctest.Wait()
		if got := h.last(); got.Generation != 2 || got.Doing != "count to 1" || got.Problem != "" {
			t.Errorf("report of something else that is wanted: %+v", got)
		}
		time.Sleep(5 * time.Millisecond)
		h.set(func() { h.fail, h.delay = nil, time.Minute })
		time.Sleep(31*time.Second + 90*time.Second)
		synctest.Wait()
		if got := h.last(); got.Doing != "count to 2" || got.Problem != "" {
			t.Errorf("report of the next operation: %+v", got)
		}
	})
}

func TestResyncAndPolling(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		h.want(1, 1)
		synctest.Wait()
		h.set(func() { h.value = 0 })
		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		if h.value != 1 {
			t.Error("a resync did not repair what changed by itself")
		}
	})
	run(t, func(t *testing.T, h *harness) {
		h.want(1, 0)
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		if h.passes != 11 {
			t.Errorf("%d passes in 10 s without being settled, want 11", h.passes)
		}
	}, func(c *Config[int, count]) { c.Settled = func(count) bool { return false } })
}

// TestAgain: what goes by the clock has its pass when it is due, and no sooner; nothing that is due leaves all as it was.
func TestAgain(t *testing.T) {
	for name, c := range map[string]struct {
		settled bool
		due     time.Duration
		passes  int
	}{
		"due": {true, 20 * time.Minute, 4}, "after the resync": {true, 2 * time.Hour, 2}, "never": {true, 0, 2}, "waits for more": {false, 20 * time.Minute, 3601},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, h *harness) {
				h.want(1, 0)
				time.Sleep(time.Hour + time.Millisecond)
				synctest.Wait()
				if h.passes != c.passes {
					t.Errorf("%d passes in an hour, want %d", h.passes, c.passes)
				}
			}, func(cfg *Config[int, count]) {
				cfg.Settled = func(count) bool { return c.settled }
				cfg.Again = func(count) time.Duration { return c.due }
			})
		})
	}
}

func TestDoesNotSpin(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		h.set(func() { h.stuck = true })
		h.want(1, 1)
		synctest.Wait()
		if got := h.last(); got.Problem != ErrNotConverging.Error() || h.passes != maxRounds {
			t.Errorf("after %d observations: %+v", h.passes, got)
		}
	})
}

func TestObserveErrorKeepsTheLastStatus(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		h.want(1, 2)
		synctest.Wait()
		h.set(func() { h.observeErr = errors.New("blind") })
		h.waker.Wake()
		synctest.Wait()
		want := state.Report[count]{Generation: 1, Status: count{2, true}, Problem: "observe counter: blind"}
		if d := cmp.Diff(want, h.last()); d != "" {
			t.Errorf("report (-want +got):\n%s", d)
		}
	})
}

func TestTimeoutEndsAPass(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		h.set(func() { h.delay = time.Hour })
		h.want(1, 1)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := h.last(); got.Problem == "" && got.Doing == "" {
			t.Errorf("report: %+v", got)
		}
		if h.passes < 2 {
			t.Errorf("%d passes: one that hangs was not ended", h.passes)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if !slices.ContainsFunc(h.reports, func(r state.Report[count]) bool {
			return strings.Contains(r.Problem, "count to 1: not done within 1m0s, the time of a pass")
		}) {
			t.Errorf("reports: %+v", h.reports)
		}
	}, func(c *Config[int, count]) { c.Timeout = time.Minute })
}

// TestLastingOperation: what takes as long as it does is not cut off and begun anew, and what comes after it has its time.
func TestLastingOperation(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		h.set(func() { h.value, h.delay = 99, 3*time.Hour })
		h.want(1, 101)
		time.Sleep(7 * time.Hour)
		synctest.Wait()
		if got := h.last(); !got.Satisfied || got.Status.Value != 101 {
			t.Errorf("report: %+v", got)
		}
		if d := cmp.Diff([]step{100, 101}, h.applied); d != "" {
			t.Errorf("applied (-want +got):\n%s", d)
		}
	}, func(c *Config[int, count]) { c.Timeout = time.Minute })
}

// TestLastingOperationThatNeverEnds: it is ended after hours, and what is told names it, what it had, and that it is tried again.
func TestLastingOperationThatNeverEnds(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		h.set(func() { h.value, h.delay = 99, 24*time.Hour })
		h.want(1, 100)
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := h.last(); got.Doing != "count to 100" || got.Problem != "" {
			t.Errorf("while it goes on: %+v", got)
		}
		time.Sleep(6 * time.Hour)
		synctest.Wait()
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, r := range h.reports {
			if strings.HasPrefix(r.Problem, "count to 100: not done after 6h0m0s, the most that is waited for it; it is tried again") {
				return
			}
		}
		t.Errorf("reports: %+v", h.reports)
	}, func(c *Config[int, count]) { c.Timeout = time.Minute })
}

// TestAsked: between two passes the loop does what it is asked to, and goes on as it would have.
func TestAsked(t *testing.T) {
	var ask chan func(context.Context) // it is of the bubble
	run(t, func(t *testing.T, h *harness) {
		h.want(1, 1)
		synctest.Wait()
		before, asked := h.passes, 0
		for range 3 {
			ask <- func(ctx context.Context) {
				if ctx.Err() != nil {
					t.Error(ctx.Err())
				}
				asked++
			}
			time.Sleep(20 * time.Minute)
			synctest.Wait()
		}
		// A resync comes each hour, whoever asks meanwhile.
		if asked != 3 || h.passes != before+1 {
			t.Errorf("asked %d times, %d passes after %d", asked, h.passes, before)
		}
	}, func(c *Config[int, count]) {
		ask = make(chan func(context.Context))
		c.Ask = ask
	})
}

// parts is a domain of two parts, of which each counts up to the specification; broken says of a part that nothing can be done on it.
type parts struct {
	mu     sync.Mutex // of what is below: a clock that moves orders nothing for the race detector
	values map[string]int
	broken map[string]bool
	tried  []string
	last   state.Report[count]
}

type partStep struct {
	part string
	to   int
}

func (s partStep) String() string { return fmt.Sprintf("%s to %d", s.part, s.to) }

// Part implements Parted.
func (s partStep) Part() string { return s.part }

func (p *parts) Observe(context.Context, int) (map[string]int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.values), nil
}

func (p *parts) Diff(spec int, obs map[string]int) []partStep {
	var out []partStep
	for _, part := range slices.Sorted(maps.Keys(obs)) {
		for v := obs[part] + 1; v <= spec; v++ {
			out = append(out, partStep{part, v})
		}
	}
	return out
}

func (p *parts) Apply(_ context.Context, _ int, op partStep) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tried = append(p.tried, op.String())
	if p.broken[op.part] {
		return errors.New("it is broken")
	}
	p.values[op.part] = op.to
	return nil
}

func (p *parts) Status(int, map[string]int) count { return count{} }

func (p *parts) publish(r state.Report[count]) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = r
}

// TestPartsDoNotWait: a part on which nothing can be done keeps no other back, and is told of.
func TestPartsDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		domain := &parts{values: map[string]int{"a": 0, "b": 0}, broken: map[string]bool{"a": true}}
		spec := 2
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = Run(ctx, domain, Config[int, count]{
				Name: "parts", Desired: func() Desired[int] { return Desired[int]{Generation: 1, Spec: &spec} }, Backoff: time.Hour, BackoffMax: time.Hour,
				Publish: domain.publish,
			})
		}()
		synctest.Wait()
		domain.mu.Lock()
		if d := cmp.Diff([]string{"a to 1", "b to 1", "b to 2"}, domain.tried); d != "" {
			t.Errorf("tried (-want +got):\n%s", d)
		}
		if last := domain.last; last.Satisfied || last.Problem != "a to 1: it is broken" || !last.Tried {
			t.Errorf("report: %+v", last)
		}
		domain.broken = nil
		domain.mu.Unlock()
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		domain.mu.Lock()
		if last := domain.last; !last.Satisfied || last.Tried || domain.values["a"] != 2 {
			t.Errorf("once it is mended: %+v, %v", last, domain.values)
		}
		domain.mu.Unlock()
		cancel()
		<-ended
	})
}
