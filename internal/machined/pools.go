package machined

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/reconcile"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/state"
	"github.com/cyvive/cyvive/internal/machined/upgrade"
	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/arc"
	"github.com/cyvive/cyvive/internal/storage/dataset"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/pool/events"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// PoolDomain is the domain of pools. *pool.Reconciler implements it.
type PoolDomain = reconcile.Domain[pool.Spec, pool.Observed, pool.Op, pool.Status]

// PoolControl is what is done to pools at a person's word. *zpool.Zpool implements it. Vdevs are given by their GUIDs.
type PoolControl interface {
	pool.Pools
	// PauseScrub and StopScrub act on a scrub that goes on, SuspendTrim and CancelTrim on a trim.
	PauseScrub(ctx context.Context, pool string) error
	StopScrub(ctx context.Context, pool string) error
	SuspendTrim(ctx context.Context, pool string) error
	CancelTrim(ctx context.Context, pool string) error
}

// Pools is what looks after the node's pools of ZFS. Its fields are all needed but Mounts and Diff.
type Pools struct {
	Domain  PoolDomain
	Control PoolControl
	// Events opens the stream of what the kernel reports.
	Events events.Open
	// Cache is the kernel's side of the ARC, and MemoryBytes how much memory the machine has, of which the ARC gets a part.
	Cache       arc.Module
	MemoryBytes uint64
	// Reserved is the path of a file that outlives the agent and not the boot: what kubelet leaves to the ARC is decided once in each.
	Reserved string
	// Datasets are what is in the pools.
	Datasets zfs.System
	// Mounts mounts those that are declared to be mounted; nil mounts none.
	Mounts dataset.Mounts
	// Diff compares two snapshots of a file system that is mounted, the earlier first, up to what is too much for one answer. Paths are as pods see them. Nil compares
	// none.
	Diff func(ctx context.Context, from, to string) (changes []zfs.Change, more bool, err error)
}

// poolResync covers events that were lost, and times at which a scrub is due.
const poolResync = time.Minute

// confirmationLife is how long a confirmation holds for an operation that was not carried out.
const confirmationLife = 10 * time.Minute

// poolTasks are the loops of the pools and of what is in them, and what goes on beside them. A node without OpenZFS has neither.
func (a *Agent) poolTasks() (loops, others []task) {
	if a.cfg.Pools == nil {
		return nil, nil
	}
	return []task{a.poolLoop(), a.datasetLoop(), a.snapshotLoop()}, []task{
		{"events of pools", a.followPools}, {"faults of pools", a.tendPools}, {"cache of pools", a.keepCache}, {"reservation for the cache", a.reserveCache},
	}
}

func (a *Agent) poolLoop() task {
	domain := confirming{a.cfg.Pools.Domain, a.confirmed.done}
	wanted := func(d plan.Desired) *pool.Spec {
		if d.Pools == nil {
			return nil
		}
		spec := a.confirmed.with(*d.Pools, a.now())
		spec.Own = a.ownScrub()
		return &spec
	}
	t := loopTask(a, PoolDomain(domain), plan.Pools, poolResync, wanted,
		func(s *snapshot, r state.Report[pool.Status]) {
			s.pools, s.poolsAt = r, a.now()
			s.poolsSeen = s.poolsSeen || r.Satisfied || r.Tried
		},
		// What is waited for, disks and people, is told by events, and the rest is not worth a scan of all disks each second.
		func(pool.Status) bool { return true },
		func(c *reconcile.Config[pool.Spec, pool.Status]) {
			c.Again = func(s pool.Status) time.Duration { return s.Late }
		})
	a.views[plan.Pools] = func(ctx context.Context, d plan.Desired) ([]string, error) {
		return inLoop(ctx, a.asks[plan.Pools], previewTimeout, func(ctx context.Context) ([]string, error) {
			spec := *wanted(d)
			obs, err := domain.Observe(ctx, spec)
			if err != nil {
				return nil, err
			}
			return poolPreview(spec, obs), nil
		})
	}
	return t
}

// ownScrubAfter is how long after the machine's start the node's own pool is not scrubbed, since all that starts reads from it, too. By its GUID it waits for up to
// ownScrubSpread longer: machines that were made at once were never scrubbed, and may share storage, as those may whose power came back at once.
const (
	ownScrubAfter  = time.Hour
	ownScrubSpread = 3 * time.Hour
)

// ownScrub is the name of the node's own pool while a scrub of it may begin: not while a release is on trial, which would be judged by what is slower meanwhile.
func (a *Agent) ownScrub() string {
	s := a.snapshot()
	judged := s.upgradable && (s.upgrade == nil || s.upgrade.Record.Stage == upgrade.Trial || s.upgrade.Record.Stage == upgrade.Reverting)
	i := slices.IndexFunc(s.pools.Status.Pools, func(p pool.PoolStatus) bool { return p.Name == config.SystemPool })
	if judged || i < 0 {
		return ""
	}
	spread := time.Duration(uint64(s.pools.Status.Pools[i].GUID)%uint64(ownScrubSpread/time.Minute)) * time.Minute
	if a.cfg.Timeline.Now() < ownScrubAfter+spread {
		return ""
	}
	return config.SystemPool
}

// importedPools are the names of the pools that are imported, in order, and data if the node's own datasets are mounted: where datasets can be looked for.
func (s snapshot) importedPools() []string {
	var out []string
	for _, p := range s.pools.Status.Pools {
		if p.Imported {
			out = append(out, p.Name)
		}
	}
	slices.Sort(out)
	if s.storage.Status.DataMounted {
		out = append(out, "/"+storage.Data) // no pool has such a name
	}
	return out
}

// noPools says that a node has no OpenZFS, and why; empty if it has.
func noPools(cfg Config) string {
	switch {
	case cfg.Pools != nil:
		return ""
	case cfg.NoPools != "":
		return "this node has no OpenZFS: " + cfg.NoPools
	}
	return "this node has no OpenZFS"
}

// wakeForPools has pools, or what is in them, looked at when there are others than before.
func (a *Agent) wakeForPools(before, after snapshot) {
	if before.storage.Status.DataMounted != after.storage.Status.DataMounted {
		a.wakers[plan.Pools].Wake()
	}
	if !slices.Equal(before.importedPools(), after.importedPools()) {
		a.wakers[plan.Datasets].Wake()
		a.wakers[plan.Snapshots].Wake()
	}
}

// confirming forgets the confirmation of an operation that was carried out.
type confirming struct {
	PoolDomain
	done func(pool.Op)
}

// Apply implements reconcile.Domain.
func (c confirming) Apply(ctx context.Context, spec pool.Spec, op pool.Op) error {
	err := c.PoolDomain.Apply(ctx, spec, op)
	if err == nil {
		c.done(op)
	}
	return err
}

// confirmations are those that hold. They are in memory alone: an agent that is started anew asks again.
type confirmations struct {
	mu   sync.Mutex
	list []confirmation
}

type confirmation struct {
	pool.Confirmation
	until time.Time
}

// add takes a confirmation in; another for the same operation counts no more.
func (c *confirmations) add(one pool.Confirmation, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = slices.DeleteFunc(c.list, func(o confirmation) bool { return o.Confirmation == one })
	c.list = append(c.list, confirmation{one, until})
}

// with returns a specification with what is confirmed at a time.
func (c *confirmations) with(spec pool.Spec, now time.Time) pool.Spec {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = slices.DeleteFunc(c.list, func(o confirmation) bool { return !now.Before(o.until) })
	spec.Confirmed = nil
	for _, o := range c.list {
		spec.Confirmed = append(spec.Confirmed, o.Confirmation)
	}
	return spec
}

// done forgets what confirmed an operation.
func (c *confirmations) done(op pool.Op) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = slices.DeleteFunc(c.list, func(o confirmation) bool { return o.Confirms(op) })
}

// ownPoolCheck is the name of the health check of the node's own pool.
const ownPoolCheck = "node-pool"

// ownPoolHealth is in order while all of the node's own pool is as it should be. The node is ready without that, and no release goes back for it: it is the disk's fault, and
// another release would not have what is lost. That the pool can be used is for the check of the storage.
func ownPoolHealth(s snapshot) []server.Check {
	for _, p := range s.pools.Status.Pools {
		if p.Name == config.SystemPool && p.Imported {
			c := check(ownPoolCheck, p.Healthy, p.Summary+" "+p.Next)
			c.Aside = true
			return []server.Check{c}
		}
	}
	return nil
}

// poolsHealth is in order when all declared pools are imported and can be used, whatever else cannot be done to them: that is in the status of the pools, and
// neither keeps datasets from being used nor is a new release to blame for it. There is no such check where none is declared.
func poolsHealth(s snapshot) []server.Check {
	if s.input.Config == nil || len(s.input.Config.Pools) == 0 {
		return nil
	}
	if !s.pooled {
		return []server.Check{check(plan.Pools, false, "pools are declared, and "+s.noPools)}
	}
	r := s.pools
	if r.Tried && r.Status.Ready {
		r.Problem = ""
	}
	return []server.Check{domainCheck(plan.Pools, r, r.Status.Ready, r.Status.Reason)}
}
