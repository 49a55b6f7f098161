package machined

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/configstore"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/reconcile"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage"
)

// configs is the node's configurations. What is in force follows from the record of the store, and from nothing else: see inForce. Who only reads takes the
// lock for the files and the record, and not while documents are taken apart: many may read, and the end of a trial waits for the lock.
type configs struct {
	mu sync.Mutex
	// store is nil until the state volume is there; problem says why it could not be opened on one that is.
	store   *configstore.Store
	problem string
	// used says that the store was not one without revisions when this agent opened it.
	used bool
	// open opens sealed secrets.
	open config.Opener
	// apart lets one reader at a time take documents apart, which needs many times their size of memory. It is locked without mu.
	apart sync.Mutex
	// deciding is held by whose configuration says how the volumes are made. It is locked without mu.
	deciding sync.Mutex
	// unused is the revision that was current when the store was opened, and could not be used.
	unused uint64
	// parsed are documents by their revision, so that a trial ends well also when the disk does not.
	parsed map[uint64]*config.Config
	// found is what the source has while there is no store for it, and foundInput what that is for the plan; late says that it had to be asked while the state
	// volume was not there. They are the configuration task's alone, and need no lock.
	found      *Document
	foundInput *plan.Input
	late       bool
	// changed has the configuration task look again.
	changed reconcile.Waker
	// finding is held by who looks through the places; it is locked after mu. passphraseProblem is what was said last of the one that they give.
	finding           sync.Mutex
	passphraseProblem string
}

// openConfigs opens the store once the state volume is mounted. It gives up on a volume that has a problem for a while; what it does about that takes the
// time it takes. One that is made only when the configuration is known is not waited for: it holds none.
func (a *Agent) openConfigs(ctx context.Context) error {
	if a.cfg.Boot.Medium {
		return nil // there is no volume to wait for
	}
	var version, given uint64
	var troubled time.Time
	for {
		s, v, err := a.store.Watch(ctx, version)
		if err != nil {
			return err
		}
		version = v
		problem := stateProblem(s)
		if mounted(s, storage.State) {
			err := a.openFirst()
			if err == nil {
				return nil
			}
			problem = err.Error()
		}
		switch {
		case s.storage.Status.StateUndecided:
			a.configs.late = true
			return nil
		case s.storage.Status.StateAwaits != "" && a.triesPassphrase(ctx, s, &given):
			continue
		case s.storage.Status.StateAwaits != "":
			a.log.Warn("the state volume waits for its key: the configuration is taken from other places meanwhile",
				"waits", first(s.storage.Problem, s.storage.Status.StateAwaits))
			a.miss()
			return nil
		case problem == "":
		case troubled.IsZero():
			troubled = time.Now()
		case time.Since(troubled) >= a.cfg.Pace.StateGrace:
			a.log.Error("the state volume cannot be used: unless it is an open encrypted one, the configuration is taken from other places", "reason", problem)
			a.miss()
			return nil
		}
		if !troubled.IsZero() {
			version = 0 // time is what is waited for
			if !sleep(ctx, searchEvery) {
				return ctx.Err()
			}
		}
	}
}

func mounted(s snapshot, volume string) bool {
	for _, v := range s.storage.Status.Volumes {
		if v.Name == volume {
			return v.Mounted
		}
	}
	return false
}

// stateProblem says what keeps the state volume from being mounted, other than that it takes its time.
func stateProblem(s snapshot) string {
	if s.input.Medium {
		return plan.OnMedium
	}
	r := s.storage
	switch {
	case mounted(s, storage.State) || r.Doing != "":
		return ""
	case r.Generation == 0:
		return s.resetProblem // nobody looks at the volumes before a reset has wiped what it is to
	}
	return first(r.Problem, r.Status.Reason)
}

func (a *Agent) openFirst() error {
	a.configs.mu.Lock()
	defer a.configs.mu.Unlock()
	return a.openStore()
}

// openStore opens the store, and does what the start of a boot asks for. The caller holds the lock.
func (a *Agent) openStore() error {
	if _, err := a.sealingKey(); err != nil {
		a.log.Error("no sealed secret can be opened", "error", err)
	}
	store, err := configstore.Open(configstore.OSDir(filepath.Join(a.cfg.StateDir, "config")), configstore.Config{
		Now: a.now, Boot: a.cfg.Boot.ID, SinceBoot: a.cfg.Timeline.Now,
	})
	if err != nil {
		if problem := err.Error(); problem != a.configs.problem {
			a.configs.problem = problem
			a.log.Error("open the configurations of the state volume", "error", err)
		}
		return err
	}
	a.configs.problem = ""
	for _, p := range store.Problems() {
		a.log.Warn("read the configurations of the state volume", "problem", p)
		a.events.Add(server.EventConfiguration, "configuration", "damaged", p)
	}
	a.configs.store, a.configs.used, a.configs.parsed = store, a.wasUsed(store), map[uint64]*config.Config{}
	a.noteKept()
	return nil
}

func (a *Agent) takeFirst() bool {
	a.configs.mu.Lock()
	defer a.configs.mu.Unlock()
	return a.takeStored()
}

// takeStored puts the stored configuration in force, also where it came from a source: a node is not to become another one, or lose its configuration, since at
// its next start the source has another or does not answer, nor since a pod has made a volume of its own look like a source. It returns false where none was stored
// yet, and on a volume that is not encrypted where none was applied and none can be read: a source is to say then what the node is to be. The caller holds the lock.
func (a *Agent) takeStored() bool {
	c := &a.configs
	if c.store == nil || c.store.Record().Current == 0 {
		had := a.sealed() || c.store != nil && c.store.Record().Own()
		if had {
			a.lack(a.whyNone())
		}
		return had
	}
	r := c.store.Record()
	if l := r.Last; l != nil && !l.Succeeded {
		a.log.Warn("a revision of the configuration was taken back", "revision", l.Revision, "reason", l.Reason)
	}
	err := a.enforce(fmt.Sprintf("revision %d of the state volume", r.Current))
	switch {
	case err == nil:
	case r.Trying != nil:
		a.takeBack(err.Error())
	case a.usesOlder(err):
	default:
		// It was valid when it was stored: this release cannot use it, or not now. Nothing takes its place, and a release on trial goes back for it.
		c.unused = r.Current
		a.lack(fmt.Errorf("use revision %d of the state volume: %w", r.Current, err))
	}
	return true
}

// tryStored puts the stored configuration in force after all where what kept the node from using it has passed, as a disk that gave nothing out for a while.
func (a *Agent) tryStored() {
	c := &a.configs
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.store == nil || c.unused == 0 || c.store.Record().Current != c.unused || a.snapshot().input.Config != nil {
		return // also where another was applied, which is put in force when its caller has the answer
	}
	if err := a.enforce(fmt.Sprintf("revision %d of the state volume", c.unused)); err != nil {
		a.log.Debug("use the stored configuration after all", "revision", c.unused, "error", err)
	}
}

// keepFound stores what the source has, which is the node's configuration from then on. There is none stored. The caller holds the lock.
func (a *Agent) keepFound(doc *Document) {
	c := &a.configs
	c.found = nil
	if c.store == nil {
		c.found = doc
		return
	}
	if cfg := a.snapshot().input.Config; cfg != nil {
		// The state volume came late, and is another one than could be expected.
		if err := a.encryptable(cfg); err != nil {
			a.log.Error("the configuration that was found is not stored", "reason", err)
			a.events.Add(server.EventConfiguration, "configuration", "not stored", err.Error())
			return
		}
	}
	_, err := c.store.Add(configstore.Revision{By: doc.Name, Mode: configstore.Source, Document: doc.Data},
		func(r configstore.Record, n uint64) (configstore.Record, error) { return r.Found(n) })
	if err != nil {
		a.log.Error("store the configuration that was found", "error", err)
	}
	a.noteKept()
}

// keepConfigs ends trials whose time has passed, and opens the store when the state volume comes late. It returns without an error when the source is to be asked
// after all.
func (a *Agent) keepConfigs(ctx context.Context) error {
	for {
		a.lateStore()
		if a.isFresh() {
			return nil
		}
		if a.snapshot().awaitsPassphrase() {
			_, _, _ = a.find(ctx) // for the passphrase alone: the node has its configuration
		}
		again := a.endTrial()
		if s := a.snapshot(); s.input.Config == nil && s.came != reading {
			a.tryStored()
			a.askOwners(ctx)
			again = min(again, a.cfg.Pace.SlowSearch)
		}
		if a.configs.late {
			again = min(again, a.cfg.Pace.SlowSearch)
		}
		if err := a.configs.await(ctx, again); err != nil {
			return err
		}
	}
}

// await waits until there is something to look at again, for this long at most. It returns an error when the context ends.
func (c *configs) await(ctx context.Context, longest time.Duration) error {
	timer := time.NewTimer(longest)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
	case <-c.changed:
	}
	return nil
}

// longTime is when to look at trials where none is.
const longTime = time.Hour

// endTrial takes back what was not confirmed in time. It returns when to look again.
func (a *Agent) endTrial() time.Duration {
	c := &a.configs
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.store == nil {
		return longTime
	}
	r := c.store.Record()
	switch left := r.Left(a.cfg.Timeline.Now()); {
	case r.Trying == nil:
		return longTime
	case left > 0:
		return left
	}
	a.takeBack("it was not confirmed in time")
	return longTime
}

// takeBack ends a trial, whatever the disk says.
func (a *Agent) takeBack(reason string) {
	tried := a.configs.store.Record().Current
	if err := a.configs.store.Revert(reason); err != nil {
		a.log.Error("store the end of a configuration's trial", "error", err)
	}
	a.log.Warn("a revision of the configuration was taken back", "revision", tried, "reason", reason)
	a.events.Add(server.EventConfiguration, "configuration", "taken back", fmt.Sprintf("revision %d: %s", tried, reason))
	if err := a.enforce(fmt.Sprintf("revision %d again", a.configs.store.Record().Current)); err != nil {
		a.log.Error("go back to the configuration before", "error", err)
	}
}
