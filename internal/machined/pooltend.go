package machined

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/pool/diagnose"
	"github.com/cyvive/cyvive/internal/storage/pool/events"
)

// poolEventsPause is the shortest time between two looks at pools for their events, which come in swarms.
const poolEventsPause = 2 * time.Second

const (
	// tendLookTimeout is for a look at pools for their events, tendActTimeout for what is done to one then. A program that the kernel holds keeps faults of other pools from
	// being seen no longer than that.
	tendLookTimeout = 2 * time.Minute
	tendActTimeout  = 10 * time.Minute
)

// within is a context that ends after a time, and says so.
func within(ctx context.Context, longest time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, longest, fmt.Errorf("not done within %s: %w", longest, context.DeadlineExceeded))
}

// tendPools decides from events which devices are faulty, and has spares stand in for them. What could not be looked at is not forgotten: errors are counted. Until there is
// a configuration no pool is declared, and nothing would be done for what has happened; so that waits, too.
func (a *Agent) tendPools(ctx context.Context) error {
	if err := a.configured(ctx); err != nil {
		return err
	}
	engine := diagnose.New(diagnose.Config{})
	var next uint64
	for {
		batch, behind, changed := a.poolEvents.since(next)
		pools, err := a.poolsForEvents(ctx)
		if err == nil {
			next = behind
			// A look at a pool that is not imported makes events too, and there is nothing to do about those, nor about what is done to datasets: for each snapshot, all
			// disks would be looked at.
			batch = slices.DeleteFunc(batch, func(e events.Event) bool { return e.Context != events.LoadNone || e.Class == events.History })
		}
		well := err == nil && a.tend(ctx, engine, batch, pools)
		wait := poolResync
		if due := engine.Next(); well && !due.IsZero() { // what failed is not tried again at once
			wait = min(wait, max(0, due.Sub(a.now())))
		}
		if !sleep(ctx, poolEventsPause) {
			return ctx.Err()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-time.After(wait):
		}
	}
}

// configured waits for a configuration.
func (a *Agent) configured(ctx context.Context) error {
	s, version := a.store.Get()
	for s.input.Config == nil {
		var err error
		if s, version, err = a.store.Watch(ctx, version); err != nil {
			return err
		}
	}
	return nil
}

// poolsForEvents looks at pools, by which events are understood.
func (a *Agent) poolsForEvents(ctx context.Context) ([]pool.Pool, error) {
	looking, cancel := within(ctx, tendLookTimeout)
	defer cancel()
	pools, err := a.cfg.Pools.Control.Pools(looking)
	if err != nil && ctx.Err() == nil {
		a.log.Warn("look at pools for their events", "error", err)
	}
	return pools, err
}

// tend takes a batch of events, which may be empty. It reports whether all that was to be done could be.
func (a *Agent) tend(ctx context.Context, engine *diagnose.Engine, batch []events.Event, pools []pool.Pool) (well bool) {
	well = true
	var actions []diagnose.Action
	for _, e := range batch {
		actions = append(actions, engine.Event(e, pools, a.now())...)
	}
	actions = append(actions, engine.Look(pools, a.now())...)
	if marks := engine.Marks(); !slices.Equal(marks, a.snapshot().marks) {
		a.update(func(s *snapshot) { s.marks = marks })
	}
	declared := plan.PoolSpec(a.snapshot().input.Config).Pools
	for _, one := range actions {
		ours := slices.ContainsFunc(declared, func(p pool.PoolSpec) bool { return p.Name == one.Pool && p.Presence == pool.Imported && !p.ReadOnly })
		if !ours {
			if engine.Left(one, a.now()) {
				continue // it was told
			}
			one.Why += "; the pool is not declared to be written to, and is left as it is"
		}
		a.log.Warn("fault of a pool", "pool", one.Pool, "action", string(one.Kind), "device", one.Vdev, "why", one.Why)
		a.events.Add(server.EventAgent, "pool "+one.Pool, string(one.Kind)+" "+one.Vdev, one.Why)
		if !ours {
			continue
		}
		if err := a.actOn(ctx, one); err != nil {
			a.log.Error("tend a pool", "error", err)
			engine.Failed(one)
			well = false
		}
	}
	if len(batch)+len(actions) > 0 {
		a.wakers[plan.Pools].Wake()
	}
	return well
}

func (a *Agent) actOn(ctx context.Context, one diagnose.Action) error {
	if one.Kind == diagnose.UseSpare {
		if one.Spares = a.inPlace(one.Spares); len(one.Spares) == 0 {
			return fmt.Errorf("%s: another disk is where the spare was", one)
		}
	}
	acting, cancel := within(ctx, tendActTimeout)
	defer cancel()
	return diagnose.Apply(acting, a.cfg.Pools.Control, one)
}

// inPlace leaves spares out where another disk is by now, as the disks were seen last: zpool is given a path, and would take what is there. ZFS does not notice that a
// spare was pulled.
func (a *Agent) inPlace(spares []pool.Vdev) []pool.Vdev {
	disks := a.snapshot().pools.Status.Disks
	return slices.DeleteFunc(slices.Clone(spares), func(s pool.Vdev) bool {
		return slices.ContainsFunc(disks, func(d pool.Disk) bool {
			return slices.Contains(d.Devices, s.Path) && (d.Label == nil || d.Label.GUID != s.GUID)
		})
	})
}
