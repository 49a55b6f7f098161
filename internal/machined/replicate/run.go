package replicate

import (
	"context"
	"errors"
	"sync"
	"time"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	"github.com/cyvive/cyvive/internal/machined/peer"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/storage/replication"
)

// run is one that goes on. All but the first fields is guarded by the manager's lock.
type run struct {
	number  uint64
	act     replicationv1.Act
	started time.Time
	cancel  context.CancelCauseFunc
	done    chan struct{}

	phase    string
	datasets []*replication.Progress
	sent     meter
}

// outcome is how a run ended.
type outcome struct {
	number         uint64
	act            replicationv1.Act
	started, ended time.Time
	problem        string
	steps          int
	bytes          uint64
}

// start begins a run. It is called with the lock held.
func (m *Manager) start(ctx context.Context, runs *sync.WaitGroup, j *job, now time.Time) {
	asked := j.asked
	if j.asked = nil; asked == nil {
		m.runs++
		asked = &request{number: m.runs, act: replicationv1.Act_ACT_REPLICATE}
	}
	whole := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	r := &run{number: asked.number, act: asked.act, started: now, cancel: cancel, done: make(chan struct{}), phase: "asking both nodes for what they have"}
	r.sent.began = now
	j.run, j.begun = r, now
	m.busy[j] = here(j.spec)
	spec := j.spec
	runs.Go(func() {
		report, err := m.carry(ctx, spec, r, asked.decisions)
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		cancel(nil)
		m.ended(j, r, report, err)
		close(r.done)
		if err != nil {
			m.lookAt(whole, j, m.cfg.Now()) // where the role was handed over, it is nothing wrong that the other node does not answer
		}
	})
}

// carry does what a run is for.
func (m *Manager) carry(ctx context.Context, spec plan.Replication, r *run, decisions []replication.Decision) (replication.Report, error) {
	there, conn, err := m.cfg.Connect(spec)
	if err != nil {
		return replication.Report{}, err
	}
	defer conn.Close()
	if b, ok := there.(interface{ Begins() }); ok {
		b.Begins()
	}
	local := m.side(spec)
	there = checked{there, func(ctx context.Context) ([]replication.RootState, error) { return local.Roots(ctx, here(spec)) }}
	runner := replication.Runner{
		Job:     spec.Job,
		Planned: func(p replication.Plan) { m.planned(r, p) },
		Count:   func(source string, n int) { m.counted(r, source, n) },
		Notify:  func(p replication.Progress) { m.progressed(r, p) },
	}
	if r.act == replicationv1.Act_ACT_FAIL_BACK {
		back := replication.Failback{Job: spec.Job, Here: local, There: there, With: runner, Tell: func(phase string) { m.enter(r, phase) }}
		_, report, err := back.Run(ctx, decisions...)
		return report, err
	}
	runner.Sender, runner.Receiver = local, there
	if !spec.Sends {
		runner.Sender, runner.Receiver = there, local
	}
	report, err := runner.Run(ctx, decisions...)
	return report, errors.Join(err, report.Err())
}

// checked is the other side of a job, whose generation is not noted here before it was looked at.
type checked struct {
	replication.Side
	own func(context.Context) ([]replication.RootState, error)
}

// List implements replication.Endpoint.
func (c checked) List(ctx context.Context, r replication.ListRequest) (replication.Listing, error) {
	found, err := c.Side.List(ctx, r)
	if led := peer.CheckGeneration(found.Generation(), func() ([]replication.RootState, error) { return c.own(ctx) }); led != nil {
		return replication.Listing{}, errors.Join(err, led)
	}
	return found, err
}

func (m *Manager) enter(r *run, phase string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r.phase = phase
	m.news()
}

// planned notes what a run will do.
func (m *Manager) planned(r *run, p replication.Plan) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r.datasets = nil
	for _, s := range p.Steps {
		row := r.dataset(s.Source)
		if row == nil {
			row = &replication.Progress{Source: s.Source, Target: s.Target}
			r.datasets = append(r.datasets, row)
		}
		if s.Kind == replication.StepInitial || s.Kind == replication.StepIncremental {
			row.Steps++
		}
		row.BytesExpected += s.Bytes
	}
	if r.act == replicationv1.Act_ACT_REPLICATE {
		r.phase = "replicating"
	}
	m.news()
}

func (r *run) dataset(source string) *replication.Progress {
	for _, row := range r.datasets {
		if row.Source == source {
			return row
		}
	}
	return nil
}

func (m *Manager) counted(r *run, source string, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if row := r.dataset(source); row != nil {
		row.BytesSent += uint64(n)
	}
	r.sent.add(m.cfg.Now(), n)
}

// progressed takes over how a dataset is; its bytes are counted here.
func (m *Manager) progressed(r *run, p replication.Progress) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if row := r.dataset(p.Source); row != nil {
		row.StepsDone, row.Now, row.Reason, row.Err = p.StepsDone, p.Now, p.Reason, p.Err
	}
	m.news()
}

// ended notes how a run ended, and when the next one is.
func (m *Manager) ended(j *job, r *run, report replication.Report, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.cfg.Now()
	o := &outcome{number: r.number, act: r.act, started: r.started, ended: now, bytes: r.sent.total}
	for _, row := range r.datasets {
		o.steps += row.StepsDone
	}
	if err != nil {
		o.problem = err.Error()
	}
	delete(m.busy, j)
	j.run, j.last, j.rootsAt = nil, o, time.Time{}
	if j.sent += o.bytes; err == nil {
		j.succeeded = now
	}
	m.wake.Wake()
	if errors.Is(err, errRemoved) || errors.Is(err, errSteppedAside) || errors.Is(err, context.Canceled) {
		m.news()
		return
	}
	if errors.Is(err, ErrNotReady) {
		j.problem, j.due = o.problem, now.Add(readyPause)
		m.news()
		return
	}
	j.conflicts, j.plan, j.fenced = conflictsOf(report, err), report.Plan, errors.Is(err, replication.ErrFenced)
	switch {
	case err == nil || j.fenced:
		j.since = time.Time{}
	case j.since.IsZero():
		j.since = now
	}
	if err == nil && r.act == replicationv1.Act_ACT_FAIL_BACK {
		j.roots = nil // the role is here again
	}
	switch {
	case err == nil || len(j.conflicts) > 0 || j.fenced:
		j.failures = 0
	case r.act == replicationv1.Act_ACT_REPLICATE:
		j.failures++
	}
	j.due = now.Add(j.pause(now))
	m.report(j, o)
	m.news()
}

// retryAfter is how long to wait after so many failures in a row; at least one.
func retryAfter(failures int) time.Duration { return min(firstRetry<<min(failures-1, 10), lastRetry) }

// pause is how long a job waits for its next run.
func (j *job) pause(now time.Time) time.Duration {
	if j.failures > 0 {
		return retryAfter(j.failures)
	}
	if j.spec.When.IsZero() {
		return resync // the peer runs it, and nothing is due
	}
	return j.spec.When.Next(now).Sub(now)
}

// report tells of a run, once for what goes on the same.
func (m *Manager) report(j *job, o *outcome) {
	log := m.cfg.Log.With("job", j.spec.Name, "run", o.number, "steps", o.steps, "bytes", o.bytes, "took", o.ended.Sub(o.started).Round(time.Millisecond))
	before := j.problem
	j.problem = o.problem
	switch {
	case o.problem == "" && o.act == replicationv1.Act_ACT_FAIL_BACK:
		log.Info("failed back")
		m.cfg.Tell(j.spec.Name, "failed back", "this node is the primary again")
	case o.problem == "" && before != "":
		log.Info("replication works again")
		m.cfg.Tell(j.spec.Name, "works again", "")
	case o.problem == "":
		if o.steps > 0 {
			log.Info("replicated")
		}
	case o.problem != before:
		log.Warn("replication failed", "error", o.problem)
		m.cfg.Tell(j.spec.Name, "failed", o.problem)
	}
}

// conflictsOf are those about which a person has to decide, found by the plan or in the middle of a step.
func conflictsOf(r replication.Report, err error) []*replication.Conflict {
	found := append([]*replication.Conflict(nil), r.Plan.Conflicts...)
	for _, f := range r.FileSystems {
		var c *replication.Conflict
		if errors.As(f.Err, &c) {
			found = append(found, c)
		}
	}
	if len(found) == 0 {
		found = conflictsIn(err)
	}
	return found
}

// conflictsIn are all those of an error, as of a promotion: a decision counts only with all others.
func conflictsIn(err error) (found []*replication.Conflict) {
	switch e := err.(type) {
	case *replication.Conflict:
		return []*replication.Conflict{e}
	case interface{ Unwrap() error }:
		return conflictsIn(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			found = append(found, conflictsIn(one)...)
		}
	}
	return found
}
