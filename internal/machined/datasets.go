package machined

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/reconcile"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/state"
	"github.com/cyvive/cyvive/internal/storage/dataset"
	"github.com/cyvive/cyvive/internal/storage/snapshots"
)

const (
	// datasetResync is how soon a dataset that ZFS refused to change is tried again, and one is seen that somebody else has made.
	datasetResync = time.Minute
	// snapshotResync covers clocks that were set, and snapshots that somebody else has destroyed. What is due by the clock has its time ([snapshots.Status]).Next:
	// to list ten thousand snapshots takes a second of a processor.
	snapshotResync = 5 * time.Minute
)

// datasetLoop makes, changes and mounts what Dataset documents declare. What it waits for, pools and people, is told by the loop of pools and by documents.
func (a *Agent) datasetLoop() task {
	domain := dataset.NewMounting(a.cfg.Pools.Datasets, a.cfg.Pools.Mounts, a.cfg.Timeline.Now)
	t := loopTask(a, domain, plan.Datasets, datasetResync,
		func(d plan.Desired) *dataset.Spec { return d.Datasets },
		func(s *snapshot, r state.Report[dataset.Status]) {
			a.tellDatasets(s.datasets.Status, r.Status)
			s.datasets = r
		},
		func(dataset.Status) bool { return true })
	a.views[plan.Datasets] = func(ctx context.Context, d plan.Desired) ([]string, error) {
		return inLoop(ctx, a.asks[plan.Datasets], previewTimeout, func(ctx context.Context) ([]string, error) {
			obs, err := domain.Observe(ctx, *d.Datasets)
			if err != nil {
				return nil, err
			}
			return datasetPreview(*d.Datasets, obs, a.snapshot().datasets.Status.Conditions), nil
		})
	}
	return t
}

// snapshotLoop makes and prunes snapshots by SnapshotSchedule documents.
func (a *Agent) snapshotLoop() task {
	t := loopTask(a, a.snapshotDomain(), plan.Snapshots, snapshotResync,
		func(d plan.Desired) *snapshots.Spec { return d.Snapshots },
		func(s *snapshot, r state.Report[snapshots.Status]) {
			a.tellSchedules(s.schedules.Status, r.Status)
			if haveNewer(s.schedules.Status, r.Status) {
				a.snapshotted.Wake() // the jobs are told elsewhere: they publish into what is locked here
			}
			s.schedules = r
		},
		func(snapshots.Status) bool { return true },
		func(c *reconcile.Config[snapshots.Spec, snapshots.Status]) {
			c.Again = func(s snapshots.Status) time.Duration { return s.Next }
		})
	// The loop's domain remembers since when it knows a snapshot, of its own schedules: others are looked at through another one.
	a.views[plan.Snapshots] = func(ctx context.Context, d plan.Desired) ([]string, error) {
		ctx, cancel := context.WithTimeout(ctx, previewTimeout)
		defer cancel()
		obs, err := a.snapshotDomain().Observe(ctx, *d.Snapshots)
		if err != nil {
			return nil, err
		}
		var ops []string
		for _, op := range snapshots.Diff(*d.Snapshots, obs) {
			ops = append(ops, op.String())
		}
		return ops, nil
	}
	return t
}

// snapshotDomain returns a new domain of snapshots.
func (a *Agent) snapshotDomain() *snapshots.Reconciler {
	clock := func() snapshots.Clock {
		uptime := a.cfg.Timeline.Now()
		return snapshots.Clock{Now: a.now(), Uptime: uptime, Doubt: a.clockDoubt(uptime)}
	}
	return snapshots.New(a.cfg.Pools.Datasets, clock, a.bases)
}

// haveNewer says that a schedule has another newest snapshot than before.
func haveNewer(before, after snapshots.Status) bool {
	newest := map[string]time.Time{}
	for _, p := range before.Policies {
		newest[p.Name] = p.Newest
	}
	return slices.ContainsFunc(after.Policies, func(p snapshots.PolicyStatus) bool { return !p.Newest.IsZero() && !p.Newest.Equal(newest[p.Name]) })
}

// tellDatasets has an event for each condition of a declared dataset that comes. A pool that is missing is told of by itself.
func (a *Agent) tellDatasets(before, after dataset.Status) {
	for _, c := range after.Conditions {
		if c.Reason != dataset.NotDeclared && c.Reason != dataset.RootMissing && !slices.Contains(before.Conditions, c) {
			a.events.Add(server.EventAgent, "dataset "+c.Dataset, "is not as declared", c.Message)
		}
	}
}

// tellSchedules has an event for each problem of a schedule that comes, and for each dataset that it pauses for.
func (a *Agent) tellSchedules(before, after snapshots.Status) {
	known := map[string]bool{}
	for _, p := range before.Policies {
		for _, problem := range slices.Concat(p.Problems, p.Paused) {
			known[problem] = true
		}
	}
	for _, p := range after.Policies {
		for _, problem := range slices.Concat(p.Problems, p.Paused) {
			if !known[problem] {
				a.events.Add(server.EventAgent, "snapshots", "schedule "+p.Name+" cannot be kept", problem)
			}
		}
	}
}

// datasetsHealth has a check where datasets are declared, and one where snapshots are. Snapshots that are due at this moment are nothing that is wrong.
func datasetsHealth(s snapshot) []server.Check {
	var out []server.Check
	if s.input.Config == nil {
		return nil
	}
	if len(s.input.Config.Datasets) > 0 {
		c := domainCheck(plan.Datasets, s.datasets, s.datasets.Status.Ready, s.datasets.Status.Reason)
		if !s.pooled {
			c = check(plan.Datasets, false, "datasets are declared, and "+s.noPools)
		}
		out = append(out, c)
	}
	if len(s.input.Config.SnapshotSchedules) > 0 {
		var problems []string
		var again time.Time
		for _, p := range s.schedules.Status.Policies {
			if len(p.Problems) > 0 {
				problems = append(problems, strings.Join(p.Problems, "; ")+sinceText(p.Since))
				again = sooner(again, p.Again)
			}
		}
		c := domainCheck(plan.Snapshots, s.schedules, len(problems) == 0, strings.Join(problems, "; "))
		if !c.Healthy {
			c.Again = again
		}
		if !s.pooled {
			c = check(plan.Snapshots, false, "snapshots are declared, and "+s.noPools)
		}
		out = append(out, c)
	}
	return out
}

// systemDataset says that a dataset is the node's own: all of its pool but what lies below the one for others. It is no document's, and nobody destroys it or takes
// it back over the API.
func systemDataset(name string) bool {
	pool, _, _ := strings.Cut(name, "/")
	return pool == config.SystemPool && !strings.HasPrefix(name, config.SystemVolumes+"/")
}

// notOfSystem is an error for what must not be done to the node's own datasets.
func notOfSystem(what, name string) error {
	if !systemDataset(name) {
		return nil
	}
	return fmt.Errorf("%s %.300s: %w: it is the system's own; expected a dataset below %s, or in another pool", what, name, server.ErrPrecondition, config.SystemVolumes)
}
