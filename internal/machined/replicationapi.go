package machined

import (
	"context"
	"fmt"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	"github.com/cyvive/cyvive/internal/machined/server"
)

// replicationAPI implements server.Replication.
type replicationAPI struct{ a *Agent }

// jobs are the node's; of what changes something also when the machine goes down there are none.
func (v replicationAPI) jobs(changes bool) (server.Replication, error) {
	if v.a.jobs == nil {
		return nil, fmt.Errorf("%w: this node has no OpenZFS, and replicates nothing", server.ErrPrecondition)
	}
	if changes {
		if err := v.a.goingDown(); err != nil {
			return nil, err
		}
	}
	return v.a.jobs.API(), nil
}

// List implements server.Replication.
func (v replicationAPI) List(ctx context.Context, name string) ([]*replicationv1.Job, error) {
	jobs, err := v.jobs(false)
	if err != nil {
		return nil, err
	}
	return jobs.List(ctx, name)
}

// Changed implements server.Replication.
func (v replicationAPI) Changed(ctx context.Context) {
	jobs, err := v.jobs(false)
	if err != nil {
		<-ctx.Done() // there never is anything to say
		return
	}
	jobs.Changed(ctx)
}

// Run implements server.Replication.
func (v replicationAPI) Run(ctx context.Context, name string, decisions []*replicationv1.Choice) (uint64, error) {
	jobs, err := v.jobs(true)
	if err != nil {
		return 0, err
	}
	return jobs.Run(ctx, name, decisions)
}

// Plan implements server.Replication.
func (v replicationAPI) Plan(ctx context.Context, name string) (*replicationv1.PlanResponse, error) {
	jobs, err := v.jobs(false)
	if err != nil {
		return nil, err
	}
	ctx, end, err := v.a.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	return jobs.Plan(ctx, name)
}

// PlanFailover implements server.Replication.
func (v replicationAPI) PlanFailover(ctx context.Context, name string) (*replicationv1.PlanFailoverResponse, error) {
	jobs, err := v.jobs(false)
	if err != nil {
		return nil, err
	}
	ctx, end, err := v.a.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	return jobs.PlanFailover(ctx, name)
}

// Failover implements server.Replication.
func (v replicationAPI) Failover(ctx context.Context, name, confirm string, decisions []*replicationv1.Choice) (*replicationv1.FailoverResponse, error) {
	jobs, err := v.jobs(true)
	if err != nil {
		return nil, err
	}
	return jobs.Failover(ctx, name, confirm, decisions)
}

// Failback implements server.Replication.
func (v replicationAPI) Failback(ctx context.Context, name, confirm string, decisions []*replicationv1.Choice) (uint64, error) {
	jobs, err := v.jobs(true)
	if err != nil {
		return 0, err
	}
	return jobs.Failback(ctx, name, confirm, decisions)
}

// Verify implements server.Replication.
func (v replicationAPI) Verify(ctx context.Context, name string, contents bool, send func(*replicationv1.VerifyResponse) error) error {
	jobs, err := v.jobs(false)
	if err != nil {
		return err
	}
	return jobs.Verify(ctx, name, contents, send)
}
