package replicate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// API is the manager over the node API.
func (m *Manager) API() server.Replication { return api{m} }

// api implements server.Replication.
type api struct{ m *Manager }

// Times between two looks of a watch: while a job runs, for its progress, and else for what happens on the other node.
const (
	watchRunning = time.Second
	watchIdle    = 10 * time.Second
	watchSettle  = 200 * time.Millisecond
)

// List implements server.Replication.
func (v api) List(ctx context.Context, name string) ([]*replicationv1.Job, error) {
	jobs := v.m.list(ctx, name)
	if name != "" && len(jobs) == 0 {
		return nil, notDeclared(name)
	}
	return jobs, nil
}

func notDeclared(name string) error {
	return fmt.Errorf("job %.80q %w: no ReplicationJob document of this node has the name", name, server.ErrNotFound)
}

// Changed implements server.Replication.
func (v api) Changed(ctx context.Context) {
	v.m.mu.Lock()
	changed, pause := v.m.changed, watchIdle
	if len(v.m.busy) > 0 {
		pause = watchRunning
	}
	v.m.mu.Unlock()
	for _, wait := range []struct {
		c <-chan struct{}
		d time.Duration
	}{{changed, pause}, {nil, watchSettle}} {
		timer := time.NewTimer(wait.d)
		select {
		case <-ctx.Done():
		case <-wait.c:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// spec finds a declared job.
func (v api) spec(name string) (plan.Replication, []*replication.Conflict, error) {
	v.m.mu.Lock()
	defer v.m.mu.Unlock()
	j := v.m.named(name)
	if j == nil {
		return plan.Replication{}, nil, notDeclared(name)
	}
	return j.spec, j.conflicts, nil
}

// Run implements server.Replication.
func (v api) Run(ctx context.Context, name string, decisions []*replicationv1.Choice) (uint64, error) {
	spec, conflicts, err := v.spec(name)
	if err != nil {
		return 0, err
	}
	if err := mustRun(spec); err != nil {
		return 0, err
	}
	chosen, err := choose(conflicts, decisions)
	if err != nil {
		return 0, err
	}
	for _, d := range chosen {
		switch {
		case !loses(d):
		case spec.Sends:
			return 0, fmt.Errorf("%w: %s: that is decided on the node on which it is destroyed, %s: nodectl snapshot rollback", server.ErrPrecondition, d, spec.Peer.Address)
		case !server.MayLose(ctx):
			return 0, fmt.Errorf("%w: %s: to decide so needs the role %s, as a rollback does", server.ErrDenied, d, server.RoleAdmin)
		}
	}
	return v.ask(name, replicationv1.Act_ACT_REPLICATE, chosen)
}

// mustRun is an error for a job that the other node runs.
func mustRun(s plan.Replication) error {
	if s.Runs {
		return nil
	}
	return fmt.Errorf("%w: the other node, %s, runs the job %s: ask that", server.ErrPrecondition, s.Peer.Address, s.Name)
}

// loses says that a decision destroys something.
func loses(d replication.Decision) bool {
	return d.Kind == replication.RollBack && (len(d.Destroys) > 0 || d.Changes)
}

// choose finds the decisions that a person has made among the options of conflicts, each by its text and the name of its dataset.
func choose(conflicts []*replication.Conflict, choices []*replicationv1.Choice) ([]replication.Decision, error) {
	var out []replication.Decision
	for _, c := range choices {
		var found *replication.Decision
		for _, conflict := range conflicts {
			if i := slices.IndexFunc(conflict.Options, func(d replication.Decision) bool { return d.String() == c.GetText() }); i >= 0 {
				found = &conflict.Options[i]
			}
		}
		switch {
		case found == nil:
			return nil, fmt.Errorf("%w: %.300q is none of the decisions that are open: what it is about has changed, or was decided", server.ErrPrecondition, c.GetText())
		case c.GetConfirm() != found.Target:
			return nil, fmt.Errorf("%w: the confirmation %.300q is not the name of the dataset, %q", server.ErrInvalid, c.GetConfirm(), found.Target)
		}
		out = append(out, *found)
	}
	return out, nil
}

// ask has a run begin as soon as it can. It never is one that has begun: that may have looked already at what there is. One that is asked for and has not begun does
// for who asks for no more than that.
func (v api) ask(name string, act replicationv1.Act, decisions []replication.Decision) (uint64, error) {
	m := v.m
	m.mu.Lock()
	defer m.mu.Unlock()
	j := m.named(name)
	switch {
	case j == nil:
		return 0, notDeclared(name)
	case j.asked != nil && j.asked.act == act && act == replicationv1.Act_ACT_REPLICATE && len(decisions) == 0:
		return j.asked.number, nil
	case j.asked != nil:
		return 0, fmt.Errorf("%w: the job %s is asked for already, and waits for %s", server.ErrPrecondition, name, j.waits())
	}
	m.runs++
	j.asked = &request{number: m.runs, act: act, decisions: decisions}
	m.wake.Wake()
	return j.asked.number, nil
}

// Failback implements server.Replication.
func (v api) Failback(_ context.Context, name, confirm string, decisions []*replicationv1.Choice) (uint64, error) {
	spec, conflicts, err := v.spec(name)
	switch {
	case err != nil:
		return 0, err
	case !spec.Sends:
		return 0, fmt.Errorf("%w: this node has no source of the job %s: the role is brought back on the node that has, %s", server.ErrPrecondition, name, spec.Peer.Address)
	case !slices.Contains(spec.Job.Sources(), confirm):
		return 0, fmt.Errorf("%w: the confirmation %.300q is not a source of the job, of which there are: %q", server.ErrInvalid, confirm, spec.Job.Sources())
	}
	chosen, err := choose(conflicts, decisions)
	if err != nil {
		return 0, err
	}
	return v.ask(name, replicationv1.Act_ACT_FAIL_BACK, chosen)
}

// Verify implements server.Replication.
func (v api) Verify(ctx context.Context, name string, contents bool, send func(*replicationv1.VerifyResponse) error) error {
	spec, _, err := v.spec(name)
	if err != nil {
		return err
	}
	if err := mustRun(spec); err != nil {
		return err
	}
	there, conn, err := v.m.cfg.Connect(spec)
	if err != nil {
		return classed(err)
	}
	defer conn.Close()
	sender, receiver := replication.Sender(v.m.side(spec)), replication.Receiver(there)
	if !spec.Sends {
		sender, receiver = there, v.m.side(spec)
	}
	of := map[replication.Contents]replicationv1.Contents{
		replication.Uncompared: replicationv1.Contents_CONTENTS_NOT_COMPARED, replication.Same: replicationv1.Contents_CONTENTS_SAME,
		replication.Differ: replicationv1.Contents_CONTENTS_DIFFER,
	}
	var sent error
	err = replication.Verify(ctx, spec.Job, sender, receiver, contents, func(c replication.Comparison) error {
		sent = send(&replicationv1.VerifyResponse{
			Source: valid(c.Source), Target: valid(c.Target), Snapshot: valid(c.Snapshot.Name), Guid: uint64(c.Snapshot.GUID), CreatedAt: stamped(c.Snapshot.Created),
			Behind: uint64(max(c.Behind, 0)), Contents: of[c.Contents], Problem: valid(c.Problem), Note: valid(c.Note),
		})
		return sent
	})
	if sent != nil {
		return sent
	}
	return classed(err)
}

// classed gives an error of the domain the class that clients are told.
func classed(err error) error {
	if err == nil || errors.Is(err, server.ErrPrecondition) || errors.Is(err, server.ErrInvalid) {
		return err
	}
	var conflict *replication.Conflict
	if errors.As(err, &conflict) {
		return fmt.Errorf("%w: %w", server.ErrPrecondition, err)
	}
	for _, e := range []error{
		replication.ErrFenced, replication.ErrChanged, replication.ErrUnsupported, replication.ErrNotFailedOver, zfs.ErrNotExist, zfs.ErrBusy, zfs.ErrHeld,
		zfs.ErrHasDependents, zfs.ErrExist, zfs.ErrNoSpace, zfs.ErrReadOnly, zfs.ErrSuspended, zfs.ErrInvalid,
	} {
		if errors.Is(err, e) {
			return fmt.Errorf("%w: %w", server.ErrPrecondition, err)
		}
	}
	return err
}
