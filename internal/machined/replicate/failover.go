package replicate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	"github.com/cyvive/cyvive/internal/machined/peer"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage/replication"
)

const (
	// tellTimeout is for the old primary to be told of its end: it goes on to the end with what it has heard. One that is lost does not answer, and is told again.
	tellTimeout = 15 * time.Second
	// stepAsideTimeout is for a run to end that is in the way: its programs are killed, and those that the kernel holds are not waited for by anybody else.
	stepAsideTimeout = 30 * time.Second
	// failoverTimeout is for a failover: a property or two of each dataset.
	failoverTimeout = 30 * time.Minute
)

// errSteppedAside is why a run ends that is in the way of a failover.
var errSteppedAside = errors.New("the replica is being promoted")

// errFailoverTimeout is why a failover ends that does not.
var errFailoverTimeout = fmt.Errorf("the failover has not ended within %s; call it again, and it goes on where it was cut: %w", failoverTimeout, context.DeadlineExceeded)

// PlanFailover implements server.Replication.
func (v api) PlanFailover(ctx context.Context, name string) (*replicationv1.PlanFailoverResponse, error) {
	spec, _, err := v.spec(name)
	if err != nil {
		return nil, err
	}
	if err := v.m.cfg.Stays(spec); err != nil {
		return nil, err
	}
	listing, conflicts, err := v.replicas(ctx, spec)
	if err != nil {
		return nil, classed(err)
	}
	if err := mustBeAway(spec, listing); err != nil {
		return nil, err
	}
	promotion := replication.Promotion{Job: promotes(spec)}
	if err := promotion.Possible(listing); err != nil {
		return nil, classed(err)
	}
	out := &replicationv1.PlanFailoverResponse{Target: valid(confirmed(spec)), Generation: promotion.Generation(listing)}
	for i := range listing.FileSystems {
		f := &listing.FileSystems[i]
		if f.Replica != promotion.Job.ID {
			continue
		}
		one := &replicationv1.Received{Dataset: valid(f.Name)}
		if last := f.Received(); last != nil {
			one.Snapshot, one.CreatedAt = valid(last.Name), stamped(last.Created)
		}
		out.Received = append(out.Received, one)
	}
	for _, c := range conflicts {
		out.Conflicts = append(out.Conflicts, peer.ConflictToProto(c))
	}
	return out, nil
}

// promotes is the job whose replicas a failover promotes here: on the node with the source that of the way back, where the new primary is lost.
func promotes(s plan.Replication) replication.Job {
	if s.Sends {
		return s.Job.Reverse(replication.ReverseID(s.Job.ID))
	}
	return s.Job
}

// confirmed is the name by which a failover here is confirmed.
func confirmed(s plan.Replication) string {
	if s.Sends {
		return s.Job.Sources()[0]
	}
	return s.Top
}

// mustBeAway is an error where this node has the source of a job, and is the primary: nothing has fenced it, or has begun to. What was received anew has no mark of a
// fence: it is known by what is a replica of the way back, below a root that may be a placeholder.
func mustBeAway(s plan.Replication, l replication.Listing) error {
	back := replication.ReverseID(s.Job.ID)
	away := func(r replication.RootState) bool {
		return r.Fenced || r.Frozen || r.Promoting || r.Replica != "" && r.Replica == back
	}
	anew := func(f replication.FileSystem) bool {
		return f.Replica != "" && f.Replica == back && len(f.Snapshots()) > 0
	}
	if !s.Sends || slices.ContainsFunc(l.Roots, away) || slices.ContainsFunc(l.FileSystems, anew) {
		return nil
	}
	return fmt.Errorf("%w: this node has the source of the job %s: what is promoted is its replica, on the node %s", server.ErrPrecondition, s.Name, s.Peer.Address)
}

// replicas lists what a failover would promote here, and what of it was changed.
func (v api) replicas(ctx context.Context, s plan.Replication) (replication.Listing, []*replication.Conflict, error) {
	job := promotes(s)
	listing, err := v.m.side(s).List(ctx, replication.ListRequest{Job: job.ID, Roots: job.Targets()})
	var conflicts []*replication.Conflict
	for i := range listing.FileSystems {
		f := &listing.FileSystems[i]
		if f.Replica != job.ID || len(f.Snapshots()) == 0 || listing.Opened(f) {
			continue
		}
		if c := f.Changed(); c != nil {
			conflicts = append(conflicts, c)
		}
	}
	return listing, conflicts, err
}

// Failover implements server.Replication. Once it has begun, it goes on though the caller hangs up.
func (v api) Failover(ctx context.Context, name, confirm string, decisions []*replicationv1.Choice) (*replicationv1.FailoverResponse, error) {
	spec, _, err := v.spec(name)
	if err != nil {
		return nil, err
	}
	if spec.Sends { // a run of a primary is not ended for nothing
		listing, _, err := v.replicas(ctx, spec)
		if err != nil {
			return nil, classed(err)
		}
		if err := mustBeAway(spec, listing); err != nil {
			return nil, err
		}
	}
	switch want := confirmed(spec); {
	case confirm == want:
	case spec.Sends:
		return nil, fmt.Errorf("%w: the confirmation %.300q is not the first source of the job, %q", server.ErrInvalid, confirm, want)
	default:
		return nil, fmt.Errorf("%w: the confirmation %.300q is not the target of the job, %q", server.ErrInvalid, confirm, want)
	}
	release, err := v.m.hold(ctx, spec.Job.ID)
	if err != nil {
		return nil, err
	}
	defer release()
	// A configuration that is given from now on is refused if it has the job no more (Promoted): so none comes in between.
	if err := v.m.cfg.Stays(spec); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), failoverTimeout, errFailoverTimeout)
	defer cancel()
	ended := func(err error) error {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w: %w", server.ErrUnavailable, context.Cause(ctx), err)
		}
		return classed(err)
	}
	v.m.cfg.Interrupt(spec.Job.ID)
	v.m.cfg.Interrupt(replication.ReverseID(spec.Job.ID))
	_, conflicts, err := v.replicas(ctx, spec)
	if err != nil {
		return nil, ended(err)
	}
	chosen, err := choose(conflicts, decisions)
	if err != nil {
		return nil, err
	}
	generation, err := replication.Promotion{Job: promotes(spec), Receiver: v.m.side(spec)}.Run(ctx, chosen...)
	if err != nil {
		return nil, ended(err)
	}
	v.m.cfg.Log.Warn("failed over", "job", name, "generation", generation)
	if spec.Sends {
		v.m.cfg.Tell(name, "failed over", fmt.Sprintf("the source on this node is the primary again, of generation %d", generation))
		v.m.cameBack(ctx, spec)
	} else {
		v.m.cfg.Tell(name, "failed over", fmt.Sprintf("the replica on this node is the primary, of generation %d", generation))
	}
	out := &replicationv1.FailoverResponse{Generation: generation, Told: true}
	err = v.m.tell(ctx, spec, generation)
	if err != nil {
		out.Told, out.Untold = false, valid(notTold(err))
		v.m.cfg.Log.Warn("the old primary is not told yet", "job", name, "error", err)
	}
	v.m.toBeTold(spec.Job.ID, generation, err)
	return out, nil
}

// cameBack is for a source that is the primary again without a failback: what that kept here is of no use any more, and its job is fenced no longer.
func (m *Manager) cameBack(ctx context.Context, s plan.Replication) {
	back := promotes(s)
	if err := replication.Forget(ctx, back.ID, m.side(s), back.Targets()); err != nil {
		m.cfg.Log.Warn("holds of the way back are left", "job", s.Name, "error", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if j := m.jobs[s.Job.ID]; j != nil {
		j.fenced, j.conflicts, j.problem = false, nil, ""
		j.roots, j.rootsAt = nil, time.Time{} // they are those of what was fenced
	}
}

// untold is a generation of which the old primary is not told yet.
type untold struct {
	generation uint64
	problem    string
	attempts   int
	due        time.Time
	telling    bool
}

// toBeTold notes what came of telling the old primary: with an error it is told again and again, until it is, or this agent ends. Then it hears of it by the next
// request of either node. One that has a higher generation is not told again.
func (m *Manager) toBeTold(id string, generation uint64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	j := m.jobs[id]
	if j == nil {
		return
	}
	j.untold = nil
	if err != nil && !errors.Is(err, replication.ErrFenced) {
		j.untold = &untold{generation: generation}
		j.untold.failed(err, m.cfg.Now())
	}
	m.news()
	m.wake.Wake()
}

// notTold is why the other node is not told, in words. To one that has a higher generation there is nothing to tell.
func notTold(err error) string {
	if errors.Is(err, replication.ErrFenced) {
		return fmt.Sprintf("it has a higher generation than this node, is not fenced, and is not told again; where it is the primary, this node is fenced by its next request: %v", err)
	}
	return err.Error()
}

func (u *untold) failed(err error, now time.Time) {
	u.attempts++
	u.telling, u.problem, u.due = false, err.Error(), now.Add(retryAfter(u.attempts))
}

// tellAgain tells the old primary once more.
func (m *Manager) tellAgain(ctx context.Context, j *job, s plan.Replication, u *untold) {
	err := m.tell(ctx, s, u.generation)
	m.mu.Lock()
	defer m.mu.Unlock()
	if j.untold != u {
		return
	}
	switch {
	case err == nil:
		j.untold = nil
		m.cfg.Log.Info("the old primary is told", "job", s.Name, "generation", u.generation)
		m.cfg.Tell(s.Name, "told", "the other node is told that it is the primary no more, and is read-only")
	case errors.Is(err, replication.ErrFenced):
		j.untold = nil
		m.cfg.Log.Warn("the other node is not fenced", "job", s.Name, "generation", u.generation, "error", err)
		m.cfg.Tell(s.Name, "not told", notTold(err))
	default:
		u.failed(err, m.cfg.Now())
	}
	m.news()
	m.wake.Wake()
}

// tell tells the old primary of the generation that has begun, which fences it.
func (m *Manager) tell(ctx context.Context, s plan.Replication, generation uint64) error {
	there, conn, err := m.cfg.Connect(s)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	roots := s.Job.Sources()
	if s.Sends {
		roots = s.Job.Targets()
	}
	return there.Learn(ctx, replication.LearnRequest{
		Fence: replication.Fence{Job: s.Job.ID, Roots: roots, Generation: generation}, Primaries: roots,
	})
}

// hold ends the run of a job, and keeps another from beginning, and the other node from its datasets, until release is called. What the other node has
// under way is interrupted after that, so that nothing takes its place.
func (m *Manager) hold(ctx context.Context, id string) (release func(), err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	j := m.jobs[id]
	if j == nil {
		return nil, fmt.Errorf("%w: the job was taken out of the configuration", server.ErrNotFound)
	}
	if j.held {
		return nil, fmt.Errorf("%w: a failover of the job %s is under way", server.ErrPrecondition, j.spec.Name)
	}
	j.held = true
	m.news()
	release = func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		j.held, j.rootsAt = false, time.Time{}
		m.news()
		m.wake.Wake()
	}
	r, name := j.run, j.spec.Name
	if r == nil {
		return release, nil
	}
	r.cancel(errSteppedAside)
	m.mu.Unlock()
	timer := time.NewTimer(stepAsideTimeout)
	defer timer.Stop()
	select {
	case <-r.done:
	case <-timer.C:
		err = fmt.Errorf("%w: run %d of the job %s was ended %s ago, and has not: the kernel holds what it began, as where a pool does not answer; "+
			"see nodectl pool status, and try again", server.ErrUnavailable, r.number, name, stepAsideTimeout)
	case <-ctx.Done():
		err = fmt.Errorf("wait for the end of run %d of the job %s: %w", r.number, name, context.Cause(ctx))
	}
	if err != nil {
		release()
	}
	m.mu.Lock() // for the unlock that is deferred
	return release, err
}
