package csitest

import (
	"context"
	"fmt"
	"sync"

	"github.com/cyvive/cyvive/internal/csi"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Pools implements csi.Pools with what is put into it.
type Pools struct {
	mu    sync.Mutex
	pools map[string]csi.Pool
	lost  map[string]uint64
}

// Put sets a pool. One with the GUID 0 is taken away.
func (p *Pools) Put(name string, pool csi.Pool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pools == nil {
		p.pools = map[string]csi.Pool{}
	}
	p.pools[name] = pool
	if pool.GUID == 0 {
		delete(p.pools, name)
	}
}

// Pool implements csi.Pools.
func (p *Pools) Pool(ctx context.Context, name string) (csi.Pool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pool, ok := p.pools[name]; ok {
		return pool, ctx.Err()
	}
	return csi.Pool{}, fmt.Errorf("pool %s: %w", name, zfs.ErrNotExist)
}

// Lose sets how many data errors a pool has.
func (p *Pools) Lose(name string, errors uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lost == nil {
		p.lost = map[string]uint64{}
	}
	p.lost[name] = errors
}

// DataErrors implements csi.Pools.
func (p *Pools) DataErrors(ctx context.Context, name string) (uint64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost[name], ctx.Err()
}
