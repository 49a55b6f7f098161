package machined

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/snapshots"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
)

// TestBases: what the cursors of declared jobs name is kept; where they cannot be listed, that is not known, and nothing goes.
func TestBases(t *testing.T) {
	t.Parallel()
	a, b, ctx := replicatingNode(t, "node-a"), replicatingNode(t, "node-b"), t.Context()
	if got, unknown, err := a.bases(ctx); err != nil || len(got)+len(unknown) > 0 {
		t.Errorf("without a job: %v, %v", got, err)
	}
	a.configure(b, config.ReplicationJob{Direction: config.DirectionPull, Run: config.RunPeer})
	if got, unknown, err := a.bases(ctx); err != nil || len(got)+len(unknown) > 0 {
		t.Errorf("without the datasets of the job: %v, %v", got, err)
	}
	guids := map[string]zfs.GUID{}
	for _, name := range []string{"tank/in", "tank/in/tank", "tank/in/tank/data", "tank/in/tank/data/x"} {
		a.must(a.model.Create(ctx, name, zfs.CreateOptions{}))
		a.must(a.model.Snapshot(ctx, []string{name + "@s"}, nil))
		list, err := a.model.List(ctx, zfs.Query{Roots: []string{name}, Kinds: []zfs.Kind{zfs.Snapshot}})
		a.must(err)
		guids[name] = list[0].GUID
	}
	for name, job := range map[string]string{
		"tank/in/tank/data": offsiteUUID, "tank/in/tank/data/x": replication.ReverseID(offsiteUUID), "tank/in/tank": offsiteUUID,
	} {
		a.must(a.model.Bookmark(ctx, name+"@s", name+"#"+replication.CursorName(job, guids[name])))
	}
	a.must(a.model.Bookmark(ctx, "tank/in/tank/data@s", "tank/in/tank/data#"+replication.CursorName("11111111-2222-4333-8444-555555555555", 7)))
	got, _, err := a.bases(ctx)
	a.must(err)
	want := snapshots.Bases{guids["tank/in/tank/data"]: "replication job offsite", guids["tank/in/tank/data/x"]: "replication job offsite"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("bases (-want +got):\n%s", diff)
	}
	a.faulty.Crash()
	_, unknown, err := a.bases(ctx)
	if why := unknown["tank"]; err != nil || len(unknown) != 1 || !strings.Contains(why, "offsite") || !strings.Contains(why, zfstest.ErrCrashed.Error()) {
		t.Errorf("where nothing can be listed: %v, %v", unknown, err)
	}
	a.faulty.Restart()
	// The domain of the schedules is made with them.
	spec := snapshots.Spec{Policies: []snapshots.Policy{{
		Name: "p", Prefix: "p-", Targets: []snapshots.Target{{Dataset: "tank/in/tank/data"}}, Keep: snapshots.Retention{Last: 1},
	}}}
	obs, err := a.snapshotDomain().Observe(ctx, spec)
	a.must(err)
	if diff := cmp.Diff(want, obs.Bases); diff != "" || len(obs.Unknown) > 0 {
		t.Errorf("what the domain knows (-want +got): %v\n%s", obs.Unknown, diff)
	}
}

// suspended is a system on which one pool does not answer.
type suspended struct {
	zfs.System
	pool  string
	lists int
}

func (s *suspended) List(ctx context.Context, q zfs.Query) ([]zfs.Dataset, error) {
	if strings.HasPrefix(q.Roots[0], s.pool+"/") {
		s.lists++
		return nil, zfs.ErrSuspended
	}
	return s.System.List(ctx, q)
}

// TestBasesOfOtherPools: a pool that is suspended leaves it unknown what its own jobs need, and is asked once. What those of other pools need is known.
func TestBasesOfOtherPools(t *testing.T) {
	ctx, model := t.Context(), zfstest.New("node", "bad", "good")
	system := &suspended{System: model, pool: "bad"}
	a := &Agent{cfg: Config{Pools: &Pools{Datasets: system}}}
	if err := errors.Join(model.Create(ctx, "good/data", zfs.CreateOptions{}), model.Snapshot(ctx, []string{"good/data@s"}, nil)); err != nil {
		t.Fatal(err)
	}
	list, err := model.List(ctx, zfs.Query{Roots: []string{"good/data"}, Kinds: []zfs.Kind{zfs.Snapshot}})
	if err != nil {
		t.Fatal(err)
	}
	if err := model.Bookmark(ctx, "good/data@s", "good/data#"+replication.CursorName(offsiteUUID, list[0].GUID)); err != nil {
		t.Fatal(err)
	}
	bases, unknown := snapshots.Bases{}, snapshots.Unknown{}
	for _, source := range []string{"bad/a", "bad/b", "good/data"} {
		j := plan.Replication{Name: "job of " + source, Sends: true, Job: replication.Job{ID: offsiteUUID, Roots: []replication.Root{{Source: source, Target: "x/y"}}}}
		if err := a.basesOf(ctx, j, bases, unknown); err != nil {
			t.Errorf("%s: %v", source, err)
		}
	}
	if diff := cmp.Diff(snapshots.Bases{list[0].GUID: "replication job job of good/data"}, bases); diff != "" {
		t.Errorf("bases (-want +got):\n%s", diff)
	}
	if len(unknown) != 1 || !strings.Contains(unknown["bad"], "job of bad/a") || system.lists != 1 {
		t.Errorf("asked %d times, unknown: %v", system.lists, unknown)
	}
}
