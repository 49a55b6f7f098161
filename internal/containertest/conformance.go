package containertest

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cyvive/cyvive/internal/container"
)

// Behaviour is what a test container's program does.
type Behaviour string

// The behaviours that a Harness must offer.
const (
	// Runs until it gets SIGTERM, and then exits.
	Runs Behaviour = "runs"
	// Exits at once with ExitCode.
	Exits Behaviour = "exits"
	// Ignores SIGTERM.
	Ignores Behaviour = "ignores"
)

// ExitCode is that of the behaviour Exits.
const ExitCode = 3

// Harness is an implementation under test.
type Harness struct {
	// Runtime has no containers at first.
	Runtime container.Runtime
	// Spec returns a valid spec whose program behaves so.
	Spec func(name string, b Behaviour) container.Spec
	// WaitUntil returns when the runtime's clock has passed the time.
	WaitUntil func(time.Time)
}

// limit bounds every wait of the tests; it is generous for emulated machines.
const limit = 60 * time.Second

// TestRuntime holds an implementation to the contract of container.Runtime.
func TestRuntime(t *testing.T, h Harness) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	t.Run("ensure starts and adopts", func(t *testing.T) { h.adopts(ctx, t) })
	t.Run("ensure replaces what changed", func(t *testing.T) { h.replaces(ctx, t) })
	t.Run("ensure starts again after a back-off", func(t *testing.T) { h.backsOff(ctx, t) })
	t.Run("stop kills what ignores its signal", func(t *testing.T) { h.kills(ctx, t) })
	t.Run("watch tells of starts and ends", func(t *testing.T) { h.watches(ctx, t) })
	t.Run("stop of nothing is no error", func(t *testing.T) {
		if err := h.Runtime.Stop(ctx, "nothing", time.Second); err != nil {
			t.Error(err)
		}
	})
	t.Run("ensure refuses an invalid spec", func(t *testing.T) {
		spec := h.Spec("invalid", Runs)
		spec.Args = nil
		if err := h.Runtime.Ensure(ctx, spec); err == nil {
			t.Error("Ensure took a spec without a program")
		}
	})
	if infos, err := h.Runtime.List(ctx); err != nil || len(infos) != 0 {
		t.Errorf("after the tests: got %v, %v, want no containers", infos, err)
	}
}

func (h Harness) adopts(ctx context.Context, t *testing.T) {
	spec := h.Spec("adopted", Runs)
	h.ensure(ctx, t, spec)
	first := h.find(ctx, t, spec.Name)
	if first.State != container.Running || first.PID == 0 || first.Hash != spec.Hash() || first.StartedAt.IsZero() {
		t.Fatalf("after Ensure: got %+v, want it running with the hash of its spec", first)
	}
	h.ensure(ctx, t, spec)
	if diff := cmp.Diff(first, h.find(ctx, t, spec.Name), cmpopts.EquateApproxTime(0)); diff != "" {
		t.Errorf("Ensure touched a container that runs as it should (-first +second):\n%s", diff)
	}
	h.stop(ctx, t, spec.Name)
}

func (h Harness) replaces(ctx context.Context, t *testing.T) {
	spec := h.Spec("replaced", Runs)
	h.ensure(ctx, t, spec)
	first := h.find(ctx, t, spec.Name)
	spec.Revision = "2"
	h.ensure(ctx, t, spec)
	second := h.find(ctx, t, spec.Name)
	if second.State != container.Running || second.Hash != spec.Hash() || second.PID == first.PID {
		t.Errorf("after a change: got %+v, want a new process of hash %s", second, spec.Hash())
	}
	h.stop(ctx, t, spec.Name)
}

func (h Harness) backsOff(ctx context.Context, t *testing.T) {
	spec := h.Spec("failing", Exits)
	h.ensure(ctx, t, spec)
	first := h.awaitState(ctx, t, spec.Name, container.Exited)
	if first.ExitCode != ExitCode || !first.NextStart.After(first.ExitedAt) {
		t.Fatalf("after the exit: got %+v, want exit code %d and a back-off", first, ExitCode)
	}
	h.ensure(ctx, t, spec)
	if got := h.find(ctx, t, spec.Name); got.Restarts != 0 || got.State != container.Exited {
		t.Errorf("in back-off: got %+v, want it left alone", got)
	}
	h.WaitUntil(first.NextStart)
	h.ensure(ctx, t, spec)
	second := h.awaitState(ctx, t, spec.Name, container.Exited)
	if second.Restarts != 1 {
		t.Errorf("after the second start: got %d restarts, want 1", second.Restarts)
	}
	if first, second := first.NextStart.Sub(first.ExitedAt), second.NextStart.Sub(second.ExitedAt); second <= first {
		t.Errorf("back-off: got %s and then %s, want it to grow", first, second)
	}
	h.stop(ctx, t, spec.Name)
}

func (h Harness) kills(ctx context.Context, t *testing.T) {
	spec := h.Spec("stubborn", Ignores)
	h.ensure(ctx, t, spec)
	if err := h.Runtime.Stop(ctx, spec.Name, 500*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if infos, err := h.Runtime.List(ctx); err != nil || len(infos) != 0 {
		t.Errorf("after Stop: got %v, %v, want nothing left", infos, err)
	}
}

func (h Harness) watches(ctx context.Context, t *testing.T) {
	ctx, cancel := context.WithCancel(ctx)
	changes, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		ended <- h.Runtime.Watch(ctx, func() {
			select {
			case changes <- struct{}{}:
			default:
			}
		})
	}()
	await := func(what string) {
		t.Helper()
		select {
		case <-changes:
		case <-time.After(limit):
			t.Fatalf("%s: Watch did not tell of it", what)
		}
	}
	await("beginning")
	h.ensure(ctx, t, h.Spec("watched", Runs))
	await("start")
	for len(changes) > 0 {
		<-changes
	}
	h.stop(ctx, t, "watched")
	await("end")
	cancel()
	if err := <-ended; err != context.Canceled {
		t.Errorf("Watch ended with %v, want the context's error", err)
	}
}

func (h Harness) ensure(ctx context.Context, t *testing.T, spec container.Spec) {
	t.Helper()
	if err := h.Runtime.Ensure(ctx, spec); err != nil {
		t.Fatal(err)
	}
}

func (h Harness) stop(ctx context.Context, t *testing.T, name string) {
	t.Helper()
	if err := h.Runtime.Stop(ctx, name, 0); err != nil {
		t.Fatal(err)
	}
}

func (h Harness) find(ctx context.Context, t *testing.T, name string) container.Info {
	t.Helper()
	infos, err := h.Runtime.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range infos {
		if i.Name == name {
			return i
		}
	}
	t.Fatalf("no container %s in %v", name, infos)
	return container.Info{}
}

// awaitState asks every 50 ms until the container is in the state.
func (h Harness) awaitState(ctx context.Context, t *testing.T, name string, want container.State) container.Info {
	t.Helper()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	timeout := time.After(limit)
	for {
		got := h.find(ctx, t, name)
		if got.State == want {
			return got
		}
		select {
		case <-ticker.C:
		case <-timeout:
			t.Fatalf("container %s: got %s for %s, want %s", name, got.State, limit, want)
		}
	}
}
