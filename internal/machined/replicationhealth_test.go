package machined

import (
	"slices"
	"strings"
	"testing"
	"time"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/replicate"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/state"
	"github.com/cyvive/cyvive/internal/machined/upgrade"
	"github.com/cyvive/cyvive/internal/storage/snapshots"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// TestReplicationHealth: jobs that fail are in the health, with the reason, since when and when they are tried again. The node is ready without them, and no release
// goes back for them.
func TestReplicationHealth(t *testing.T) {
	at := time.Date(2026, 11, 26, 4, 0, 0, 0, time.UTC)
	declared := plan.Input{Config: &config.Config{ReplicationJobs: []config.ReplicationJob{{Name: "a"}, {Name: "b"}}}}
	for what, c := range map[string]struct {
		s    snapshot
		want []server.Check
	}{
		"none is declared": {snapshot{pooled: true, input: plan.Input{Config: &config.Config{}}}, nil},
		"all is well": {
			snapshot{pooled: true, input: declared, replication: []replicate.Status{{Name: "a", Phase: replicationv1.Phase_PHASE_RUNNING, Next: at}, {Name: "b"}}},
			[]server.Check{{Name: "replication", Healthy: true, Aside: true}},
		},
		"both fail, one runs": {
			snapshot{pooled: true, input: declared, replication: []replicate.Status{
				{Name: "a", Phase: replicationv1.Phase_PHASE_FAILED, Problem: "no route", Since: at, Next: at.Add(15 * time.Minute)},
				{Name: "b", Phase: replicationv1.Phase_PHASE_RUNNING, Problem: "a person has to decide", Since: at.Add(time.Hour)},
			}},
			[]server.Check{{
				Name: "replication", Reason: "job a: no route, since 2026-11-26T04:00:00Z; job b: a person has to decide, since 2026-11-26T05:00:00Z",
				Again: at.Add(15 * time.Minute), Aside: true,
			}},
		},
		"no OpenZFS": {
			snapshot{noPools: "its module is not loaded", input: declared},
			[]server.Check{{Name: "replication", Reason: "replication jobs are declared, and its module is not loaded", Aside: true}},
		},
	} {
		if got := replicationHealth(c.s); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %+v, want %+v", what, got, c.want)
		}
		c.s.checks = replicationHealth(c.s)
		if slices.ContainsFunc(gates(c.s), func(g upgrade.Gate) bool { return g.Name == replicationCheck }) {
			t.Errorf("%s: it is a gate of releases", what)
		}
	}
}

// TestScheduleHealth: a snapshot that cannot be made is in the health, with since when and when it is tried again.
func TestScheduleHealth(t *testing.T) {
	at := time.Date(2026, 11, 26, 4, 0, 0, 0, time.UTC)
	s := snapshot{pooled: true, input: plan.Input{Config: &config.Config{SnapshotSchedules: []config.SnapshotSchedule{{Name: "q"}, {Name: "r"}}}}}
	s.schedules = state.Report[snapshots.Status]{Generation: 1, Status: snapshots.Status{Policies: []snapshots.PolicyStatus{
		{Name: "q", Problems: []string{"schedule q: make a snapshot of tank: there is no room"}, Since: at, Again: at.Add(5 * time.Minute)}, {Name: "r"},
	}}}
	want := []server.Check{{
		Name: plan.Snapshots, Reason: "schedule q: make a snapshot of tank: there is no room, since 2026-11-26T04:00:00Z", Again: at.Add(5 * time.Minute),
	}}
	if got := datasetsHealth(s); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestJobThatFails: a job that the other node refuses is in the node's health and its list, since the first failure.
func TestJobThatFails(t *testing.T) {
	t.Parallel()
	a, b := replicatingNode(t, "node-a"), replicatingNode(t, "node-b")
	a.must(a.model.Create(t.Context(), "tank/data", zfs.CreateOptions{}))
	b.source.set(b.document()) // without a job
	b.awaitOther("a certificate of the configuration's authority", func() bool { return b.identity.Load().Clients != nil })
	a.configure(b, config.ReplicationJob{Direction: config.DirectionPush, Run: config.RunHere})
	a.snapshot("1")
	first := a.run()
	if first.GetLast().GetSucceeded() || first.GetFailingSince() == nil {
		t.Fatalf("the first run: %v", first)
	}
	a.await("the job to fail", func(s snapshot) bool {
		c, ok := checkOf(s, replicationCheck)
		return ok && !c.Healthy && c.Aside && strings.Contains(c.Reason, "job offsite: ") && strings.Contains(c.Reason, ", since ")
	})
	if again := a.run(); !again.GetFailingSince().AsTime().Equal(first.GetFailingSince().AsTime()) || again.GetProblem() == "" {
		t.Errorf("the second run: %v, want it to fail since the first, %v", again, first)
	}
}
