package servertest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	poolv1 "github.com/cyvive/cyvive/api/proto/pool/v1"
	"github.com/cyvive/cyvive/internal/machined/server"
)

// Pools are a node's pools. What waits in Plan can be confirmed, and is gone then.
type Pools struct {
	List       *poolv1.ListResponse
	Importable []*poolv1.Importable
	Plan       *poolv1.PlanResponse
	Events     []*poolv1.StreamEventsResponse
	Cache      *poolv1.GetCacheResponse
	// Last are devices, as pool and name, without which their vdevs have no redundancy.
	Last []string
}

// PoolsOf is a node as server.Pools.
type PoolsOf struct{ *Node }

var _ server.Pools = PoolsOf{}

// List implements server.Pools.
func (p PoolsOf) List(context.Context) (*poolv1.ListResponse, error) {
	if err := p.called("pools"); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Pools.List == nil {
		return nil, fmt.Errorf("%w: this node looks after no pools", server.ErrPrecondition)
	}
	return proto.CloneOf(p.Pools.List), nil
}

// Importable implements server.Pools.
func (p PoolsOf) Importable(context.Context) (*poolv1.ListImportableResponse, error) {
	return &poolv1.ListImportableResponse{Pools: p.Pools.Importable}, p.called("importable pools")
}

// Plan implements server.Pools.
func (p PoolsOf) Plan(context.Context) (*poolv1.PlanResponse, error) {
	err := p.called("plan of pools")
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Pools.Plan == nil {
		return &poolv1.PlanResponse{}, err
	}
	return proto.CloneOf(p.Pools.Plan), err
}

// Confirm implements server.Pools.
func (p PoolsOf) Confirm(_ context.Context, pool, operation, by string) error {
	if err := p.called(fmt.Sprintf("confirm for pool %s by %s: %s", pool, by, operation)); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	is := func(o *poolv1.Operation) bool {
		return o.GetWaiting() && o.GetPool() == pool && o.GetText() == operation
	}
	if p.Pools.Plan == nil || !slices.ContainsFunc(p.Pools.Plan.Operations, is) {
		return fmt.Errorf("confirm: %w: no such operation waits for pool %s", server.ErrPrecondition, pool)
	}
	p.Pools.Plan.Operations = slices.DeleteFunc(p.Pools.Plan.Operations, is)
	for _, one := range p.Pools.List.GetPools() {
		one.Waiting = slices.DeleteFunc(one.Waiting, is)
	}
	return nil
}

// imported returns a pool, with the lock held.
func (p PoolsOf) imported(name string) (*poolv1.Pool, error) {
	for _, one := range p.Pools.List.GetPools() {
		if one.GetName() == name && one.GetImported() {
			return one, nil
		}
	}
	return nil, fmt.Errorf("pool %s: %w", name, server.ErrNotFound)
}

// Scrub implements server.Pools.
func (p PoolsOf) Scrub(_ context.Context, pool string, action poolv1.ScrubAction) error {
	if err := p.called(fmt.Sprintf("scrub pool %s: %s", pool, action)); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	one, err := p.imported(pool)
	if err != nil {
		return err
	}
	running := one.GetScan().GetProgress() == poolv1.Progress_PROGRESS_RUNNING
	if action != poolv1.ScrubAction_SCRUB_ACTION_START && !running {
		return fmt.Errorf("scrub pool %s: %w: there is no scrub that goes on", pool, server.ErrPrecondition)
	}
	next := map[poolv1.ScrubAction]poolv1.Progress{
		poolv1.ScrubAction_SCRUB_ACTION_START: poolv1.Progress_PROGRESS_RUNNING, poolv1.ScrubAction_SCRUB_ACTION_PAUSE: poolv1.Progress_PROGRESS_PAUSED,
		poolv1.ScrubAction_SCRUB_ACTION_STOP: poolv1.Progress_PROGRESS_CANCELED,
	}[action]
	one.Scan = &poolv1.Scan{
		Function: poolv1.Function_FUNCTION_SCRUB, Progress: next, StartedAt: timestamppb.New(time.Unix(1000, 0)), TotalBytes: 1 << 30, DoneBytes: 1 << 28,
	}
	return nil
}

// Trim implements server.Pools.
func (p PoolsOf) Trim(_ context.Context, pool string, action poolv1.TrimAction) error {
	if err := p.called(fmt.Sprintf("trim pool %s: %s", pool, action)); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := p.imported(pool)
	return err
}

// Clear implements server.Pools.
func (p PoolsOf) Clear(_ context.Context, pool, device string) error {
	if err := p.called(fmt.Sprintf("clear pool %s %s", pool, device)); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	one, err := p.imported(pool)
	if err != nil || device == "" {
		return err
	}
	leaf, err := p.leaf(one, device)
	if err == nil {
		leaf.ReadErrors, leaf.WriteErrors, leaf.ChecksumErrors = 0, 0, 0
	}
	return err
}

// leaf finds a device, with the lock held.
func (p PoolsOf) leaf(one *poolv1.Pool, device string) (*poolv1.Vdev, error) {
	var find func(list []*poolv1.Vdev) *poolv1.Vdev
	find = func(list []*poolv1.Vdev) *poolv1.Vdev {
		for _, v := range list {
			if len(v.GetChildren()) == 0 && v.GetName() == device {
				return v
			}
			if found := find(v.GetChildren()); found != nil {
				return found
			}
		}
		return nil
	}
	if v := find(one.GetVdevs()); v != nil {
		return v, nil
	}
	return nil, fmt.Errorf("device %s of pool %s: %w", device, one.GetName(), server.ErrNotFound)
}

// Offline implements server.Pools.
func (p PoolsOf) Offline(_ context.Context, pool, device, confirm string) (int, error) {
	if err := p.called(fmt.Sprintf("offline %s of pool %s, %q", device, pool, confirm)); err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	v, err := p.deviceOf(pool, device)
	last := slices.Contains(p.Pools.Last, pool+" "+device)
	switch {
	case err != nil:
		return 0, err
	case last && confirm != pool:
		return 0, fmt.Errorf("offline %s: %w: its vdev has no redundancy left without it; name the pool once more to have it so", device, server.ErrPrecondition)
	}
	v.State = poolv1.State_STATE_OFFLINE
	if last {
		return 0, nil
	}
	return 1, nil
}

// Online implements server.Pools.
func (p PoolsOf) Online(_ context.Context, pool, device string) error {
	if err := p.called(fmt.Sprintf("online %s of pool %s", device, pool)); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	v, err := p.deviceOf(pool, device)
	if err == nil {
		v.State = poolv1.State_STATE_ONLINE
	}
	return err
}

func (p PoolsOf) deviceOf(pool, device string) (*poolv1.Vdev, error) {
	one, err := p.imported(pool)
	if err != nil {
		return nil, err
	}
	return p.leaf(one, device)
}

// Cache implements server.Pools.
func (p PoolsOf) Cache(context.Context) (*poolv1.GetCacheResponse, error) {
	return p.Pools.Cache, p.called("cache of pools")
}

// Events implements server.Pools. A followed stream never brings more.
func (p PoolsOf) Events(ctx context.Context, o server.PoolEventOptions, send func(*poolv1.StreamEventsResponse) error) error {
	if err := p.called("events of pools"); err != nil {
		return err
	}
	list := slices.DeleteFunc(slices.Clone(p.Pools.Events), func(e *poolv1.StreamEventsResponse) bool {
		return e.GetId() <= o.AfterID && !e.GetTime().AsTime().After(o.AfterTime)
	})
	return stream(ctx, list, o.StreamOptions, send)
}
