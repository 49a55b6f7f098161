package replicate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	"github.com/cyvive/cyvive/internal/machined/peer"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/storage/replication"
)

// phase is what a job is at, and in words what it does or waits for.
func (j *job) phase() (replicationv1.Phase, string) {
	switch {
	case j.run != nil:
		return replicationv1.Phase_PHASE_RUNNING, j.run.phase
	case j.held, j.queued != "" && (j.asked != nil || j.spec.Runs):
		return replicationv1.Phase_PHASE_QUEUED, "waiting for " + j.waits()
	case j.away() && j.spec.Sends:
		return replicationv1.Phase_PHASE_FAILED_OVER, "the replica was promoted, and is the primary: what is here is read-only; nodectl replication failback brings the role back"
	case j.away() && j.untold != nil:
		return replicationv1.Phase_PHASE_FAILED_OVER, fmt.Sprintf(
			"the replica on this node was promoted, and is the primary; waiting for the other node to be told, which takes writes until then if it runs: %s",
			j.untold.problem)
	case j.away():
		return replicationv1.Phase_PHASE_FAILED_OVER, "the replica on this node was promoted, and is the primary"
	case len(j.conflicts) > 0:
		return replicationv1.Phase_PHASE_BLOCKED, fmt.Sprintf("a person has to decide about %d datasets", len(j.conflicts)) + j.telling()
	case j.problem != "":
		return replicationv1.Phase_PHASE_FAILED, j.problem + j.telling()
	case !j.spec.Runs:
		return replicationv1.Phase_PHASE_PEER, "the other node runs it" + j.telling()
	}
	return replicationv1.Phase_PHASE_IDLE, "waiting for its time" + j.telling()
}

// telling is what is said besides where the other node is to be told still, as where the source on this node has become the primary again; empty where it is not.
func (j *job) telling() string {
	if j.untold == nil {
		return ""
	}
	return "; waiting for the other node to be told that it is the primary no more, which takes writes until then if it runs: " + j.untold.problem
}

// trouble is what is wrong with a job, and since when; empty where nothing is. A run that goes on changes nothing of it until it has ended.
func (j *job) trouble() (string, time.Time) {
	switch {
	case j.since.IsZero() || j.away():
		return "", time.Time{}
	case len(j.conflicts) > 0:
		return fmt.Sprintf("a person has to decide about %d datasets, see nodectl replication status", len(j.conflicts)), j.since
	}
	return j.problem, j.since
}

// status is how a job is, in short.
func (j *job) status() Status {
	s := Status{Name: j.spec.Name}
	s.Phase, s.Reason = j.phase()
	if s.Problem, s.Since = j.trouble(); s.Problem != "" && j.spec.Runs && j.run == nil {
		s.Next = j.due
	}
	return s
}

// waits is what a run waits for, in words.
func (j *job) waits() string {
	switch {
	case j.run != nil:
		return fmt.Sprintf("the end of run %d", j.run.number)
	case j.held:
		return "the end of a failover"
	case j.queued != "":
		return fmt.Sprintf("the job %s, which works on the same datasets", j.queued)
	}
	return "its turn"
}

// away says that the role of the primary is on the receiving node, as far as it is known here.
func (j *job) away() bool {
	if j.fenced {
		return true
	}
	back := replication.ReverseID(j.spec.Job.ID)
	for _, r := range j.roots {
		fenced := r.Fenced || r.Replica != "" && r.Replica == back // what comes back anew has no mark of a fence
		if j.spec.Sends && fenced || !j.spec.Sends && r.Exists && r.Generation > 0 && !r.Fenced && r.Replica == "" && !r.Placeholder {
			return true
		}
	}
	return false
}

// Promoted are those of the trees that a job receives on this node which a failover has made primaries, or has begun to, and those that are not there.
func (m *Manager) Promoted(ctx context.Context, s plan.Replication, trees []string) (promoted, absent []string, err error) {
	m.mu.Lock()
	j := m.jobs[s.Job.ID]
	failingOver := j != nil && j.held
	m.mu.Unlock()
	if failingOver {
		return slices.Clone(trees), nil, nil
	}
	found, err := m.side(s).Roots(ctx, trees)
	if err != nil {
		return nil, nil, err
	}
	for _, r := range found {
		switch {
		case !r.Exists:
			absent = append(absent, r.Name)
		case r.Promoting || roleOf(r, false) == replicationv1.Role_ROLE_PRIMARY:
			promoted = append(promoted, r.Name)
		}
	}
	return promoted, absent, nil
}

// valid makes a text one that a message can have.
func valid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

func stamped(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// rootsPatience is how long a pool may take to tell of roots, with what a program takes to be ended below the time for which clients wait.
const rootsPatience = 4 * time.Second

// errNoAnswer is that it has taken longer.
var errNoAnswer = fmt.Errorf("no answer within %s: the pool may be suspended, or busy; see nodectl pool status", rootsPatience)

// look reads the roots of jobs anew that were not looked at for a while, or since something changed.
func (m *Manager) look(ctx context.Context, name string) {
	m.mu.Lock()
	var old []*job
	now := m.cfg.Now()
	for _, j := range m.jobs {
		if age := now.Sub(j.rootsAt); (name == "" || j.spec.Name == name) && (age >= rootsAge || age < 0) {
			old = append(old, j)
		}
	}
	m.mu.Unlock()
	var all sync.WaitGroup
	for _, j := range old {
		all.Go(func() { m.lookAt(ctx, j, now) })
	}
	all.Wait()
}

// lookAt reads the roots of a job. A pool that does not answer keeps nobody from being told of those in others.
func (m *Manager) lookAt(ctx context.Context, j *job, now time.Time) {
	m.mu.Lock()
	spec := j.spec
	m.mu.Unlock()
	looking, cancel := context.WithTimeoutCause(ctx, rootsPatience, errNoAnswer)
	defer cancel()
	found, err := m.side(spec).Roots(looking, here(spec))
	if err != nil && ctx.Err() != nil {
		return // whoever asked has gone: that says nothing of the roots
	}
	if err != nil && looking.Err() != nil {
		var silent []string
		for i, name := range here(spec) {
			if i >= len(found) || found[i].Name == "" {
				silent = append(silent, name)
			}
		}
		err = fmt.Errorf("%s: %w", strings.Join(silent, ", "), errNoAnswer)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	away := j.away()
	j.rootsAt, j.rootErr = now, ""
	if j.roots = found; err != nil {
		j.rootErr = err.Error()
	}
	if j.away() != away {
		m.news()
	}
}

// list is all jobs, or the one of a name, in the order of the configuration.
func (m *Manager) list(ctx context.Context, name string) []*replicationv1.Job {
	m.look(ctx, name)
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*replicationv1.Job
	for _, id := range m.order {
		if j := m.jobs[id]; name == "" || j.spec.Name == name {
			out = append(out, j.toProto(m.cfg.Now()))
		}
	}
	return out
}

func (j *job) toProto(now time.Time) *replicationv1.Job {
	s := j.spec
	out := &replicationv1.Job{
		Name: valid(s.Name), Uuid: s.Job.ID, Sends: s.Sends, Runs: s.Runs, PeerAddress: valid(s.Peer.Address), PeerIdentity: valid(s.Peer.Identity),
		Target: valid(s.Top), Limit: s.Job.BytesPerSecond, RootsProblem: valid(j.rootErr), HeardAt: stamped(j.heard), Last: j.last.toProto(),
		Progress: j.run.toProto(now), SucceededAt: stamped(j.succeeded), SentBytes: j.sent,
	}
	if j.run != nil {
		out.SentBytes += j.run.sent.total
	}
	if s.Runs {
		out.Schedule, out.NextAt = s.When.String(), stamped(j.due)
	}
	for i, r := range s.Job.Roots {
		root := &replicationv1.Root{Source: valid(r.Source), Target: valid(r.Target)}
		if i < len(j.roots) && j.roots[i].Name != "" {
			root.Role, root.Generation = roleOf(j.roots[i], s.Sends), j.roots[i].Generation
		}
		out.Roots = append(out.Roots, root)
	}
	phase, reason := j.phase()
	out.Phase, out.Reason = phase, valid(reason)
	problem, since := j.trouble()
	out.Problem, out.FailingSince = valid(problem), stamped(since)
	for _, c := range j.conflicts {
		out.Conflicts = append(out.Conflicts, peer.ConflictToProto(c))
	}
	for _, b := range j.plan.Blocked {
		out.Blocked = append(out.Blocked, valid(fmt.Sprintf("%s: %s", b.Source, b.Reason)))
	}
	for _, name := range j.plan.Orphans {
		out.Orphans = append(out.Orphans, valid(name))
	}
	return out
}

// roleOf is what the root of a tree is to its job.
func roleOf(r replication.RootState, sends bool) replicationv1.Role {
	switch {
	case !r.Exists:
		return replicationv1.Role_ROLE_NONE
	case r.Replica != "":
		return replicationv1.Role_ROLE_REPLICA
	case r.Fenced:
		return replicationv1.Role_ROLE_FENCED
	case sends || r.Generation > 0 && !r.Placeholder:
		return replicationv1.Role_ROLE_PRIMARY
	}
	return replicationv1.Role_ROLE_NONE
}

func (o *outcome) toProto() *replicationv1.Outcome {
	if o == nil {
		return nil
	}
	return &replicationv1.Outcome{
		Run: o.number, Act: o.act, StartedAt: stamped(o.started), EndedAt: stamped(o.ended), Succeeded: o.problem == "", Problem: valid(o.problem),
		StepsDone: uint64(max(o.steps, 0)), SentBytes: o.bytes,
	}
}

func (r *run) toProto(now time.Time) *replicationv1.Progress {
	if r == nil {
		return nil
	}
	out := &replicationv1.Progress{
		Run: r.number, Act: r.act, StartedAt: stamped(r.started), Phase: valid(r.phase), SentBytes: r.sent.total, BytesPerSecond: r.sent.perSecond(now),
	}
	left := uint64(0)
	for _, d := range r.datasets {
		out.Steps += uint64(max(d.Steps, 0))
		out.StepsDone += uint64(max(d.StepsDone, 0))
		out.ExpectedBytes += d.BytesExpected
		if d.StepsDone >= d.Steps && d.Now == "" && d.Err == nil {
			continue
		}
		if d.BytesExpected > d.BytesSent {
			left += d.BytesExpected - d.BytesSent
		}
		out.Datasets = append(out.Datasets, &replicationv1.DatasetProgress{
			Source: valid(d.Source), Target: valid(d.Target), Steps: uint64(max(d.Steps, 0)), StepsDone: uint64(max(d.StepsDone, 0)),
			State: string(d.Now), Reason: valid(d.Reason), ExpectedBytes: d.BytesExpected, SentBytes: d.BytesSent,
		})
	}
	if out.BytesPerSecond > 0 && left > 0 {
		out.Remaining = durationpb.New(time.Duration(float64(left) / float64(out.BytesPerSecond) * float64(time.Second)).Round(time.Second))
	}
	return out
}
