package replicate

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	"github.com/cyvive/cyvive/internal/machined/peer"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/reconcile"
	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/replication/endpoint"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

const (
	// firstRetry and lastRetry are the shortest and longest time after which a run that failed is tried again.
	firstRetry = 30 * time.Second
	lastRetry  = 15 * time.Minute
	// snapshotPause is the shortest time between two beginnings of a job that snapshots begin.
	snapshotPause = 10 * time.Second
	// readyPause is how long to wait while this node is not ready.
	readyPause = time.Second
	// resync covers clocks that jump.
	resync = time.Minute
	// rootsAge is how old what is shown of roots may be.
	rootsAge = 10 * time.Second
)

// Config is what a Manager is made of. Sums, Log, Tell, Publish, Interrupt, Stays and Now may be nil.
type Config struct {
	System zfs.System
	// Sums reads the contents of snapshots; without it none can be compared.
	Sums endpoint.Summer
	// Connect returns the other side of a job, and what closes the way to it.
	Connect func(plan.Replication) (replication.Side, io.Closer, error)
	// Interrupt ends what the other node has under way here for a job.
	Interrupt func(id string)
	// Stays is an error where a job is going to be taken out of the configuration by itself, and so must not be failed over. A failover that has asked is then
	// known to Promoted until it ends.
	Stays func(plan.Replication) error
	Log   *slog.Logger
	Now   func() time.Time
	// Runs is what the runs are counted from: higher than all that were there before this agent was started, so that who waits for one of those is not told of another.
	Runs uint64
	// Tell is told of what a person wants to know later: the job, its state in a word or two, and the reason.
	Tell func(job, state, reason string)
	// Publish is told how all jobs are, whenever one gets another phase. It must not call the Manager.
	Publish func([]Status)
}

// Status is how a job is, in short.
type Status struct {
	Name   string
	Phase  replicationv1.Phase
	Reason string
	// Problem is why its runs go wrong, or that a person has to decide; empty where nothing is wrong. It stays while the next run goes on. That the role of the
	// primary was handed over is nothing wrong.
	Problem string
	// Since is when the first of the runs ended that have gone wrong one after the other since. Next is when the job runs again by itself; zero where it runs now, or
	// does not by itself.
	Since, Next time.Time
}

// Manager runs jobs. Its methods may be called concurrently.
type Manager struct {
	cfg  Config
	wake reconcile.Waker

	mu sync.Mutex
	// order are the UUIDs of jobs, as the configuration has them.
	order []string
	jobs  map[string]*job
	// busy are the jobs with a run, those too that are not declared any more, and the datasets of each on this node.
	busy map[*job][]string
	// runs counts them.
	runs uint64
	// changed is closed, and replaced, when List has something else to say.
	changed chan struct{}
	told    []Status
}

// job is what is known of one. All of it is guarded by the manager's lock.
type job struct {
	spec plan.Replication
	// due is when it runs next by itself; asked is what a person wants, nil for nothing.
	due   time.Time
	asked *request
	// queued is the job that it waits for; held says that no run may begin, and that the other node is kept out.
	queued string
	held   bool
	run    *run
	begun  time.Time

	last     *outcome
	failures int
	problem  string
	fenced   bool
	// since is when the first of the runs ended that have gone wrong one after the other since, the last one too; zero if that went well.
	since time.Time
	// succeeded is when the last run that went well ended, sent what went over in all runs that have ended.
	succeeded time.Time
	sent      uint64
	conflicts []*replication.Conflict
	plan      replication.Plan

	roots   []replication.RootState
	rootsAt time.Time
	rootErr string
	heard   time.Time
	// untold is of a failover of which the old primary is not told yet; nil if there is none.
	untold *untold
}

// request is a run that a person asked for.
type request struct {
	number    uint64
	act       replicationv1.Act
	decisions []replication.Decision
}

// New returns a manager without jobs.
func New(cfg Config) *Manager {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Interrupt == nil {
		cfg.Interrupt = func(string) {}
	}
	if cfg.Stays == nil {
		cfg.Stays = func(plan.Replication) error { return nil }
	}
	if cfg.Tell == nil {
		cfg.Tell = func(string, string, string) {}
	}
	if cfg.Publish == nil {
		cfg.Publish = func([]Status) {}
	}
	return &Manager{cfg: cfg, runs: cfg.Runs, wake: reconcile.NewWaker(), jobs: map[string]*job{}, busy: map[*job][]string{}, changed: make(chan struct{})}
}

// ErrNotReady is for Connect while this node cannot yet show who it is: the job is tried again soon, and nobody is told.
var ErrNotReady = errors.New("this node is not ready yet")

// errRemoved is why a run ends whose job is not declared any more, or is another.
var errRemoved = errors.New("the job was taken out of the configuration, or changed")

// Set says which jobs there are. A run whose job changes ends, and begins anew; what a job that is gone kept on disk stays. What the other node has under way for a
// job that changes or is gone ends too: it was let through by what the job was.
func (m *Manager) Set(specs []plan.Replication) {
	var ended sync.WaitGroup
	for _, id := range m.set(specs) {
		ended.Go(func() { m.cfg.Interrupt(id) })
		ended.Go(func() { m.cfg.Interrupt(replication.ReverseID(id)) })
	}
	ended.Wait()
}

// set returns the UUIDs of jobs that changed or are gone.
func (m *Manager) set(specs []plan.Replication) (others []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	kept := map[string]*job{}
	m.order = nil
	for _, s := range specs {
		j := m.jobs[s.Job.ID]
		switch {
		case j == nil:
			j = &job{due: m.cfg.Now()}
		case !reflect.DeepEqual(j.spec, s):
			others = append(others, s.Job.ID)
			j.due, j.rootsAt = m.cfg.Now(), time.Time{}
			if j.spec.Sends != s.Sends {
				j.untold = nil
			}
			if j.run != nil {
				j.run.cancel(errRemoved)
			}
		}
		j.spec = s
		kept[s.Job.ID] = j
		m.order = append(m.order, s.Job.ID)
	}
	for id, j := range m.jobs {
		if kept[id] != nil {
			continue
		}
		others = append(others, id)
		if j.run != nil {
			j.run.cancel(errRemoved)
		}
	}
	m.jobs = kept
	m.news()
	m.wake.Wake()
	return others
}

// Snapshots says that snapshots were made on this node. Jobs with an interval run for them, if they send.
func (m *Manager) Snapshots() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, j := range m.jobs {
		if !j.spec.Runs || !j.spec.Sends || j.spec.When.Every == 0 || j.failures > 0 {
			continue
		}
		soonest := m.cfg.Now()
		if after := j.begun.Add(snapshotPause); after.After(soonest) {
			soonest = after
		}
		if soonest.Before(j.due) {
			j.due = soonest
		}
	}
	m.wake.Wake()
}

// Allowed is what a UUID lets the other node ask for, for peer.NewGuard. The way back of a job has one of its own.
func (m *Manager) Allowed(id string) (peer.Allowed, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if j := m.jobs[id]; j != nil {
		a := peer.Allowed{Name: j.spec.Name, Job: j.spec.Job, Sends: j.spec.Sends, Works: !j.spec.Runs, Busy: j.keepsOut()}
		if !a.Sends {
			a.Tops = []string{j.spec.Top}
		}
		return a, true
	}
	for of, j := range m.jobs {
		if replication.ReverseID(of) == id && !j.spec.Sends {
			return peer.Allowed{Name: j.spec.Name, Job: j.spec.Job.Reverse(id), Sends: true, Works: true, Busy: j.keepsOut(), Back: true}, true
		}
	}
	return peer.Allowed{}, false
}

// keepsOut says that the other node changes nothing here: while a failover is under way, or a failback, at whose end what came back is promoted. Told of a generation
// in the middle of a promotion, a tree would be fenced and opened again, and be a primary of the generation that it was told of, as the other one is: neither is fenced
// by the other then. Who tells of one tells again.
func (j *job) keepsOut() bool {
	return j.held || j.run != nil && j.run.act == replicationv1.Act_ACT_FAIL_BACK
}

// Heard says that the other node asked for something of a job.
func (m *Manager) Heard(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for of, j := range m.jobs {
		if of == id || replication.ReverseID(of) == id {
			j.heard = m.cfg.Now()
		}
	}
}

// Run runs jobs until ctx ends and all runs have, and then returns ctx's error.
func (m *Manager) Run(ctx context.Context) error {
	var runs sync.WaitGroup
	defer runs.Wait()
	for {
		timer := time.NewTimer(m.begin(ctx, &runs))
		select {
		case <-ctx.Done():
		case <-m.wake:
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// begin begins what is due or asked for, and returns how long until something else may be.
func (m *Manager) begin(ctx context.Context, runs *sync.WaitGroup) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, wait := m.cfg.Now(), resync
	for _, id := range m.order {
		j := m.jobs[id]
		if u := j.untold; u != nil && !u.telling {
			if latest := now.Add(lastRetry); latest.Before(u.due) { // the clock was set back
				u.due = latest
			}
			if u.due.After(now) {
				wait = min(wait, u.due.Sub(now))
			} else {
				spec := j.spec
				u.telling = true
				runs.Go(func() { m.tellAgain(ctx, j, spec, u) })
			}
		}
		if j.run != nil || j.held || j.asked == nil && !j.spec.Runs {
			continue
		}
		if j.asked == nil && j.due.After(now) {
			// A clock that was set back does not keep a job from its times.
			if next := now.Add(j.pause(now)); next.Before(j.due) {
				j.due = next
			}
			wait = min(wait, j.due.Sub(now))
			continue
		}
		if j.queued = m.inTheWay(j); j.queued == "" {
			m.start(ctx, runs, j, now)
		}
	}
	m.news()
	return wait
}

// inTheWay is a job at work on datasets of another, by its name; empty if there is none.
func (m *Manager) inTheWay(j *job) string {
	for other, datasets := range m.busy {
		for _, mine := range here(j.spec) {
			if slices.ContainsFunc(datasets, func(theirs string) bool { return within(mine, theirs) || within(theirs, mine) }) {
				return other.spec.Name
			}
		}
	}
	return ""
}

// here are the roots of a job on this node.
func here(s plan.Replication) []string {
	if s.Sends {
		return s.Job.Sources()
	}
	return s.Job.Targets()
}

func within(name, above string) bool { return name == above || strings.HasPrefix(name, above+"/") }

// side is this node's side of a job.
func (m *Manager) side(s plan.Replication) *endpoint.Local {
	local := endpoint.New(m.cfg.System, m.cfg.Sums)
	if s.Sends {
		return local
	}
	return local.Under(s.Top)
}

// news wakes who waits for something else to be said, and publishes phases that changed.
func (m *Manager) news() {
	close(m.changed)
	m.changed = make(chan struct{})
	var now []Status
	for _, id := range m.order {
		now = append(now, m.jobs[id].status())
	}
	if !slices.Equal(now, m.told) {
		m.told = now
		m.cfg.Publish(slices.Clone(now))
	}
}

// named finds a job by its name.
func (m *Manager) named(name string) *job {
	for _, j := range m.jobs {
		if j.spec.Name == name {
			return j
		}
	}
	return nil
}
