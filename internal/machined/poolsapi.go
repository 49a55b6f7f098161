package machined

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	poolv1 "github.com/cyvive/cyvive/api/proto/pool/v1"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// poolsAPI implements server.Pools.
type poolsAPI struct{ a *Agent }

// here is an error on a node that has no pools at all.
func (v poolsAPI) here() error {
	if v.a.cfg.Pools == nil {
		return fmt.Errorf("%w: %s; it looks after no pools", server.ErrPrecondition, noPools(v.a.cfg))
	}
	return nil
}

// spec is what is declared, whether the loop is held back or not, with what is confirmed.
func (v poolsAPI) spec() pool.Spec {
	spec := v.a.confirmed.with(plan.PoolSpec(v.a.snapshot().input.Config), v.a.now())
	spec.Own = v.a.ownScrub()
	return spec
}

// poolLookTimeout is for a look at pools and at all disks, which may be many, and asleep. Clients wait for 15 s.
const poolLookTimeout = 12 * time.Second

// look looks at pools and disks through the loop, between two passes, for so long at most. ErrUnavailable says what the loop does instead.
func (v poolsAPI) look(ctx context.Context, spec pool.Spec, longest time.Duration) (pool.Observed, error) {
	if err := v.here(); err != nil {
		return pool.Observed{}, err
	}
	obs, err := inLoop(ctx, v.a.asks[plan.Pools], longest, func(ctx context.Context) (pool.Observed, error) {
		return v.a.cfg.Pools.Domain.Observe(ctx, spec)
	})
	if err == nil {
		return obs, nil
	}
	if doing := v.a.snapshot().pools.Doing; doing != "" {
		return obs, fmt.Errorf("%w: the node is at work on its pools: %s", server.ErrUnavailable, doing)
	}
	return obs, fmt.Errorf("%w: look at the pools: %w", server.ErrUnavailable, err)
}

// List implements server.Pools.
func (v poolsAPI) List(ctx context.Context) (*poolv1.ListResponse, error) {
	spec := v.spec()
	obs, err := v.look(ctx, spec, previewTimeout) // what was seen last will do
	s := v.a.snapshot()
	status, at := s.pools.Status, s.poolsAt
	switch {
	case err == nil:
		status, at = v.a.cfg.Pools.Domain.Status(spec, obs), obs.Now
	case !errors.Is(err, server.ErrUnavailable) || at.IsZero():
		return nil, err
	}
	out := &poolv1.ListResponse{
		Ready: status.Ready && s.pools.Held == "", Reason: first(s.pools.Held, status.Reason), ObservedAt: stamped(at), Doing: s.pools.Doing, Problem: s.pools.Problem,
	}
	for _, p := range status.Pools {
		one := poolToProto(p, at)
		markVdevs(one.GetVdevs(), p.GUID, s.marks)
		out.Pools = append(out.Pools, one)
	}
	return out, nil
}

// Importable implements server.Pools.
func (v poolsAPI) Importable(ctx context.Context) (*poolv1.ListImportableResponse, error) {
	spec := v.spec()
	obs, err := v.look(ctx, spec, poolLookTimeout)
	if err != nil {
		return nil, err
	}
	out := &poolv1.ListImportableResponse{}
	for _, i := range obs.Importable {
		one := importableToProto(i)
		one.Declared = slices.ContainsFunc(spec.Pools, func(p pool.PoolSpec) bool {
			return p.Presence == pool.Imported && !i.Destroyed && (p.GUID == i.GUID || p.GUID == 0 && p.Name == i.Name)
		})
		out.Pools = append(out.Pools, one)
	}
	return out, nil
}

// Plan implements server.Pools.
func (v poolsAPI) Plan(ctx context.Context) (*poolv1.PlanResponse, error) {
	spec := v.spec()
	obs, err := v.look(ctx, spec, poolLookTimeout)
	if err != nil {
		return nil, err
	}
	ops, conditions := pool.Plan(spec, obs)
	out := &poolv1.PlanResponse{}
	for _, o := range ops {
		out.Operations = append(out.Operations, operationToProto(o, waits(spec, o)))
	}
	for _, c := range conditions {
		out.Conditions = append(out.Conditions, conditionToProto(c))
	}
	return out, nil
}

// waits says that an operation is not done before somebody confirms it.
func waits(spec pool.Spec, o pool.Op) bool {
	return o.Needs != "" && !slices.ContainsFunc(spec.Confirmed, func(c pool.Confirmation) bool { return c.Confirms(o) })
}

// Confirm implements server.Pools. It looks anew, so that nobody confirms what they do not see. While the state volume is not read the pools wait, and who confirms may
// be nobody any more when they do not (late.go).
func (v poolsAPI) Confirm(ctx context.Context, name, operation, by string) error {
	if err := errors.Join(v.here(), v.a.goingDown()); err != nil {
		return err
	}
	if v.a.snapshot().came != inTime {
		return fmt.Errorf("%w: nothing is done to pools before the state volume has been read; confirm it then", server.ErrUnavailable)
	}
	spec := v.spec()
	obs, err := v.look(ctx, spec, poolLookTimeout)
	if err != nil {
		return err
	}
	one := pool.Confirmation{Pool: name, Operation: operation}
	ops, _ := pool.Plan(spec, obs)
	var waiting []string
	for _, o := range ops {
		if one.Confirms(o) {
			v.a.log.Warn("an operation on a pool was confirmed", "pool", name, "operation", operation, "by", by)
			v.a.events.Add(server.EventRequest, "pool "+name, "confirmed", operation+" (by "+by+")")
			v.a.confirmed.add(one, v.a.now().Add(confirmationLife))
			v.a.wakers[plan.Pools].Wake()
			return nil
		}
		if o.Pool == name && o.Needs != "" {
			waiting = append(waiting, o.String())
		}
	}
	if len(waiting) == 0 {
		return fmt.Errorf("%w: nothing waits for a confirmation of pool %.80q: it was done, or the pool or its disks have changed since it was shown",
			server.ErrPrecondition, name)
	}
	return fmt.Errorf("%w: no such operation waits for pool %.80q; what does is: %s", server.ErrPrecondition, name, strings.Join(waiting, "; and: "))
}

// acting finds a pool for what changes it.
func (v poolsAPI) acting(ctx context.Context, name string) (pool.Pool, error) {
	if err := errors.Join(v.here(), v.a.goingDown()); err != nil {
		return pool.Pool{}, err
	}
	pools, err := v.a.cfg.Pools.Control.Pools(ctx)
	if err != nil {
		return pool.Pool{}, poolClassed(err)
	}
	for _, p := range pools {
		if p.Name == name {
			return p, nil
		}
	}
	return pool.Pool{}, fmt.Errorf("pool %.80q %w: it is not imported", name, server.ErrNotFound)
}

// acted has the loop look at what was done.
func (v poolsAPI) acted(p, what string, err error) error {
	if err != nil {
		return poolClassed(err)
	}
	v.a.log.Info("pool changed over the API", "pool", p, "what", what)
	v.a.wakers[plan.Pools].Wake()
	return nil
}

// Cache implements server.Pools.
func (v poolsAPI) Cache(context.Context) (*poolv1.GetCacheResponse, error) {
	if err := v.here(); err != nil {
		return nil, err
	}
	s, err := v.a.cfg.Pools.Cache.Stats()
	if err != nil {
		return nil, err
	}
	return &poolv1.GetCacheResponse{
		SizeBytes: s.SizeBytes, TargetBytes: s.TargetBytes, MinBytes: s.MinBytes, MaxBytes: s.MaxBytes, EvictableBytes: s.EvictableBytes,
		Hits: s.Hits, Misses: s.Misses, Throttled: s.Throttled, DeviceBytes: s.L2SizeBytes, DeviceHits: s.L2Hits,
	}, nil
}

// poolClassed gives an error of the domain the class that clients are told.
func poolClassed(err error) error {
	for class, errs := range map[error][]error{
		server.ErrNotFound: {zfs.ErrNotExist},
		server.ErrInvalid:  {zfs.ErrInvalid},
		server.ErrPrecondition: {
			zfs.ErrBusy, zfs.ErrHeld, zfs.ErrHasDependents, zfs.ErrExist, zfs.ErrNoSpace, zfs.ErrReadOnly, zfs.ErrSuspended, pool.ErrLastCopy, pool.ErrUnconfirmed,
			pool.ErrInUseElsewhere, pool.ErrNewer, pool.ErrTooSmall, pool.ErrStaysOut,
		},
	} {
		for _, e := range errs {
			if errors.Is(err, e) {
				return fmt.Errorf("%w: %w", class, err)
			}
		}
	}
	return err
}
