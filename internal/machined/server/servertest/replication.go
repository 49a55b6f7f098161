package servertest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	"github.com/cyvive/cyvive/internal/machined/server"
)

// Replication are a node's replication jobs. A run ends at once.
type Replication struct {
	Jobs []*replicationv1.Job
	// Plan is that of a failover, Untold why the other node cannot be told of it.
	Plan   *replicationv1.PlanFailoverResponse
	Untold string
	// Preview is what a run would do; nil is nothing.
	Preview *replicationv1.PlanResponse
	// Verdicts are what Verify finds, Problem how a run ends.
	Verdicts []*replicationv1.VerifyResponse
	Problem  string

	runs uint64
}

// ReplicationOf is a node as server.Replication.
type ReplicationOf struct{ *Node }

var _ server.Replication = ReplicationOf{}

// find is called with the lock held.
func (r ReplicationOf) find(name string) (*replicationv1.Job, error) {
	for _, j := range r.Replication.Jobs {
		if j.GetName() == name {
			return j, nil
		}
	}
	return nil, fmt.Errorf("job %q %w", name, server.ErrNotFound)
}

// List implements server.Replication.
func (r ReplicationOf) List(_ context.Context, name string) ([]*replicationv1.Job, error) {
	if err := r.called("replication jobs"); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*replicationv1.Job
	for _, j := range r.Replication.Jobs {
		if name == "" || j.GetName() == name {
			out = append(out, proto.CloneOf(j))
		}
	}
	if name != "" && len(out) == 0 {
		return nil, fmt.Errorf("job %q %w", name, server.ErrNotFound)
	}
	return out, nil
}

// Changed implements server.Replication.
func (r ReplicationOf) Changed(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(50 * time.Millisecond):
	}
}

// run has a run begin and end, with what was decided.
func (r ReplicationOf) run(call, name string, act replicationv1.Act, decisions []*replicationv1.Choice) (uint64, error) {
	for _, d := range decisions {
		call += fmt.Sprintf("; %s: %s", d.GetConfirm(), d.GetText())
	}
	if err := r.called(call); err != nil {
		return 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	j, err := r.find(name)
	if err != nil {
		return 0, err
	}
	r.Replication.runs++
	at := timestamppb.New(time.Date(2026, 11, 26, 4, 0, 0, 0, time.UTC))
	j.Last = &replicationv1.Outcome{
		Run: r.Replication.runs, Act: act, StartedAt: at, EndedAt: at, Succeeded: r.Replication.Problem == "", Problem: r.Replication.Problem, StepsDone: 2, SentBytes: 4096,
	}
	return r.Replication.runs, nil
}

// Run implements server.Replication.
func (r ReplicationOf) Run(ctx context.Context, name string, decisions []*replicationv1.Choice) (uint64, error) {
	if !server.MayLose(ctx) && r.loses(name, decisions) {
		return 0, fmt.Errorf("%w: a decision destroys something", server.ErrDenied)
	}
	return r.run("run "+name, name, replicationv1.Act_ACT_REPLICATE, decisions)
}

// loses says that one of the decisions destroys something.
func (r ReplicationOf) loses(name string, decisions []*replicationv1.Choice) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	j, err := r.find(name)
	if err != nil {
		return false
	}
	for _, c := range j.GetConflicts() {
		for _, o := range c.GetOptions() {
			chosen := slices.ContainsFunc(decisions, func(d *replicationv1.Choice) bool { return d.GetText() == o.GetText() })
			if chosen && (len(o.GetDestroys()) > 0 || o.GetChanges()) {
				return true
			}
		}
	}
	return false
}

// Plan implements server.Replication.
func (r ReplicationOf) Plan(_ context.Context, name string) (*replicationv1.PlanResponse, error) {
	if err := r.called("plan " + name); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := r.find(name); err != nil {
		return nil, err
	}
	if r.Replication.Preview == nil {
		return &replicationv1.PlanResponse{}, nil
	}
	return proto.CloneOf(r.Replication.Preview), nil
}

// PlanFailover implements server.Replication.
func (r ReplicationOf) PlanFailover(_ context.Context, name string) (*replicationv1.PlanFailoverResponse, error) {
	if err := r.called("plan failover " + name); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := r.find(name); err != nil {
		return nil, err
	}
	if r.Replication.Plan == nil {
		return nil, fmt.Errorf("%w: this node has the source of the job %s", server.ErrPrecondition, name)
	}
	return proto.CloneOf(r.Replication.Plan), nil
}

// Failover implements server.Replication.
func (r ReplicationOf) Failover(_ context.Context, name, confirm string, decisions []*replicationv1.Choice) (*replicationv1.FailoverResponse, error) {
	call := fmt.Sprintf("fail over %s, confirmed by %s", name, confirm)
	for _, d := range decisions {
		call += fmt.Sprintf("; %s: %s", d.GetConfirm(), d.GetText())
	}
	if err := r.called(call); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.Replication.Plan; p == nil || confirm != p.GetTarget() {
		return nil, fmt.Errorf("%w: the confirmation %q is not the target", server.ErrInvalid, confirm)
	}
	return &replicationv1.FailoverResponse{
		Generation: r.Replication.Plan.GetGeneration(), Told: r.Replication.Untold == "", Untold: r.Replication.Untold,
	}, nil
}

// Failback implements server.Replication.
func (r ReplicationOf) Failback(_ context.Context, name, confirm string, decisions []*replicationv1.Choice) (uint64, error) {
	r.mu.Lock()
	j, err := r.find(name)
	if err == nil && !slices.ContainsFunc(j.GetRoots(), func(root *replicationv1.Root) bool { return root.GetSource() == confirm }) {
		err = fmt.Errorf("%w: the confirmation %q is no source", server.ErrInvalid, confirm)
	}
	r.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return r.run(fmt.Sprintf("fail back %s, confirmed by %s", name, confirm), name, replicationv1.Act_ACT_FAIL_BACK, decisions)
}

// Verify implements server.Replication.
func (r ReplicationOf) Verify(_ context.Context, name string, contents bool, send func(*replicationv1.VerifyResponse) error) error {
	if err := r.called(fmt.Sprintf("verify %s, contents: %t", name, contents)); err != nil {
		return err
	}
	r.mu.Lock()
	_, err := r.find(name)
	verdicts := slices.Clone(r.Replication.Verdicts)
	r.mu.Unlock()
	if err != nil {
		return err
	}
	for _, v := range verdicts {
		if err := send(v); err != nil {
			return err
		}
	}
	return nil
}
