package machined

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cyvive/cyvive/internal/container"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/supervise/control"
)

// Deadlines of the phases of a teardown. Init gives all of it 60 s. The plane's own init takes at most 35 s for its way down.
const (
	planeDeadline   = 40 * time.Second
	controlDeadline = 8 * time.Second
	etcdDeadline    = 8 * time.Second
	// killTime is the end of a phase in which what did not follow its stop signal is killed.
	killTime = 2 * time.Second
)

// ending is the machine's end, once it has begun.
type ending struct {
	mu     sync.Mutex
	asked  bool
	reason string
	// atOnce says that nothing is to be stopped in order.
	atOnce bool
}

// goingDown is an error once the machine's end has begun.
func (a *Agent) goingDown() error {
	a.ending.mu.Lock()
	defer a.ending.mu.Unlock()
	if !a.ending.asked {
		return nil
	}
	return fmt.Errorf("%w: the machine is going down (%s)", server.ErrPrecondition, a.ending.reason)
}

// end asks init for an ordered end of the machine. Init in its turn asks for the teardown.
func (a *Agent) end(ctx context.Context, action control.Action, reason string) error {
	a.ending.mu.Lock()
	defer a.ending.mu.Unlock()
	if a.ending.asked {
		return fmt.Errorf("begin %s: %w: the machine is going down already (%s)", action, server.ErrPrecondition, a.ending.reason)
	}
	if err := a.cfg.Init.Shutdown(ctx, action); err != nil {
		return fmt.Errorf("begin %s: %w", action, err)
	}
	a.ending.asked, a.ending.reason = true, reason
	a.log.Info("the machine is going down", "reason", reason)
	return nil
}

// Teardown stops what the node runs, from the top down: workload plane, control plane, etcd. Each phase has a deadline, and one that fails
// does not keep the next from its turn. It is for the end of the machine only: afterwards Run must be ended.
func (a *Agent) Teardown(ctx context.Context) error {
	a.ending.mu.Lock()
	if !a.ending.asked {
		a.ending.asked, a.ending.reason = true, "power key, ctrl-alt-del or init"
	}
	reason, atOnce := a.ending.reason, a.ending.atOnce
	a.ending.mu.Unlock()
	if l := a.history.get(); l != nil {
		if err := l.Ending(a.cfg.Boot.ID, reason); err != nil {
			a.log.Error("write the boot ledger", "error", err)
		}
	}
	a.loops()
	if atOnce {
		return nil
	}
	err := errors.Join(
		a.phase(ctx, "workload plane", planeDeadline, a.cfg.Plane, func(string) bool { return true }),
		a.phase(ctx, "control plane", controlDeadline, a.cfg.System, func(name string) bool { return name != "etcd" }),
		a.phase(ctx, "etcd", etcdDeadline, a.cfg.System, func(name string) bool { return name == "etcd" }),
	)
	a.recordMilestones()
	return err
}

// phase stops, all at once, the containers of a runtime whose names are chosen.
func (a *Agent) phase(ctx context.Context, what string, deadline time.Duration, runtime container.Runtime, chosen func(string) bool) error {
	started := time.Now()
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	infos, err := runtime.List(ctx)
	if errors.Is(err, container.ErrUnavailable) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stop %s: %w", what, err)
	}
	infos = slices.DeleteFunc(infos, func(i container.Info) bool { return !chosen(i.Name) })
	errs := make([]error, len(infos))
	var all sync.WaitGroup
	for i, info := range infos {
		all.Go(func() { errs[i] = runtime.Stop(ctx, info.Name, deadline-killTime) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("stop %s: %w", what, err)
	}
	a.log.Info("stopped", "what", what, "containers", len(infos), "took", time.Since(started).Round(time.Millisecond))
	return nil
}
