package machined

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/ledger"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage/arc"
)

const (
	// cacheEvery is the time between two looks at the ARC, that of the average of pressure by which its limit is lowered (package arc).
	cacheEvery = 10 * time.Second
	// reservePatience is how long kubelet waits for pools to be known, since its storage is ready. Without them, those that are known count: a pool that cannot be
	// imported keeps no node from its work.
	reservePatience = time.Minute
)

// cacheStatus is how the memory is limited that ZFS keeps what it has read in, the ARC.
type cacheStatus struct {
	// limits are in force; zero while they are not known.
	limits arc.Limits
	// lowered says that the limit is below that of the rule, since processes wait for memory, or did a while ago.
	lowered bool
	// problem says why the limit could not be set.
	problem string
	// reserved is what kubelet leaves to the ARC, and the most that it gets from then on; 0 until that is decided.
	reserved uint64
}

// poolsKnown says that all pools are imported that can be, the node's own among them, and none is waited for.
func (s snapshot) poolsKnown() bool {
	own := false
	for _, p := range s.pools.Status.Pools {
		own = own || p.Imported && p.Name == config.SystemPool
	}
	return own && s.pools.Satisfied && s.pools.Status.Late == 0
}

// cacheRule is the limit of the ARC by the rule, for the pools that are imported.
func (s snapshot) cacheRule(memoryBytes uint64) uint64 {
	var poolBytes uint64
	for _, p := range s.pools.Status.Pools {
		if p.Imported {
			poolBytes += p.Pool.SizeBytes
		}
	}
	return arc.Max(poolBytes, memoryBytes)
}

// keepCache limits the ARC from the agent's start on, and lowers the limit under pressure.
func (a *Agent) keepCache(ctx context.Context) error {
	var governor arc.Governor
	known := false
	for {
		s := a.snapshot()
		if s.poolsKnown() && !known {
			// Up to now the rule was that of no pools: there is nothing to come back from step by step.
			governor, known = arc.Governor{}, true
		}
		a.limitCache(&governor, s)
		if !sleep(ctx, cacheEvery) {
			return ctx.Err()
		}
	}
}

// limitCache sets the limit that is due now. What kubelet leaves to the ARC is the most that it gets, whatever pools came later.
func (a *Agent) limitCache(g *arc.Governor, s snapshot) {
	rule := s.cacheRule(a.cfg.Pools.MemoryBytes)
	if s.cache.reserved > 0 {
		rule = min(rule, s.cache.reserved)
	}
	fresh := s.cache
	var err error
	fresh.limits, err = g.Step(a.now(), a.cfg.Pools.Cache, rule)
	fresh.problem = ""
	if err != nil {
		fresh.problem = err.Error()
	} else {
		// A rule that has grown is followed step by step, which is no pressure.
		below, fell := fresh.limits.MaxBytes < arc.LimitsFor(rule).MaxBytes, fresh.limits.MaxBytes < s.cache.limits.MaxBytes
		fresh.lowered = below && (fell || s.cache.lowered)
	}
	if fresh == s.cache {
		return
	}
	switch {
	case fresh.problem != "" && fresh.problem != s.cache.problem:
		a.log.Error("limit the memory of ZFS", "error", err)
	case fresh.limits != s.cache.limits:
		a.log.Info("the memory of ZFS is limited", "min", fresh.limits.MinBytes, "max", fresh.limits.MaxBytes, "rule", rule)
	}
	if fresh.lowered && !s.cache.lowered {
		a.events.Add(server.EventAgent, "memory of ZFS", "limit lowered", fmt.Sprintf("to %d MiB of %d: processes wait for memory", fresh.limits.MaxBytes>>20, rule>>20))
	}
	if !fresh.lowered && s.cache.lowered {
		a.events.Add(server.EventAgent, "memory of ZFS", "limit as it was", fmt.Sprintf("%d MiB", fresh.limits.MaxBytes>>20))
	}
	a.update(func(s *snapshot) {
		s.cache.limits, s.cache.lowered, s.cache.problem = fresh.limits, fresh.lowered, fresh.problem
	})
}

// wantsReservation says that it has to be decided what kubelet leaves to the ARC.
func (s snapshot) wantsReservation() bool {
	return s.input.Config != nil && s.input.Config.Cluster != nil && s.storage.Status.Ready && s.cache.reserved == 0
}

// reserveCache decides once in a boot what kubelet leaves to the ARC. An agent that is started anew has it from a file, since kubelet goes on with what it read.
func (a *Agent) reserveCache(ctx context.Context) error {
	if n, err := readReserved(a.cfg.Pools.Reserved); err != nil {
		a.log.Error("read what is reserved for the memory of ZFS; it is decided anew", "error", err)
	} else if n > 0 {
		a.update(func(s *snapshot) { s.cache.reserved = n })
	}
	return a.whenever(ctx, snapshot.wantsReservation, func(snapshot) {
		s := a.awaitPools(ctx)
		if ctx.Err() != nil {
			return
		}
		n := arc.LimitsFor(s.cacheRule(a.cfg.Pools.MemoryBytes)).MaxBytes
		if err := ledger.ReplaceFile(a.cfg.Pools.Reserved, []byte(strconv.FormatUint(n, 10)+"\n"), 0o600); err != nil {
			a.log.Error("note what is reserved for the memory of ZFS", "error", err)
		}
		a.log.Info("kubelet leaves memory to ZFS", "bytes", n, "pools known", s.poolsKnown())
		a.update(func(s *snapshot) { s.cache.reserved = n })
	})
}

// awaitPools waits until the pools are known, but not for ever.
func (a *Agent) awaitPools(ctx context.Context) snapshot {
	ctx, cancel := context.WithTimeout(ctx, reservePatience)
	defer cancel()
	var version uint64
	for {
		s, v, err := a.store.Watch(ctx, version)
		if err != nil || s.poolsKnown() {
			return s
		}
		version = v
	}
}

// readReserved is 0 where nothing was decided in this boot.
func readReserved(path string) (uint64, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 63)
	if err != nil || n < arc.FloorBytes {
		return 0, fmt.Errorf("read %s: got %.40q, expected a number of bytes of %d at least", path, text, arc.FloorBytes)
	}
	return n, nil
}

// cacheHealth has a check where the ARC could not be limited: pods have not the memory then that kubelet says they have.
func cacheHealth(s snapshot) []server.Check {
	if s.cache.problem == "" {
		return nil
	}
	return []server.Check{check("pool-cache", false, s.cache.problem)}
}
