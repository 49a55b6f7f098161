package machined

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/snapshots"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
)

// TestBases: what the cursors of declared jobs name is kept; where they cannot be listed, that is an error, and nothing goes.
func TestBases(t *testing.T) {
	t.Parallel()
	a, b, ctx := replicatingNode(t, "node-a"), replicatingNode(t, "node-b"), t.Context()
	if got, err := a.bases(ctx); err != nil || len(got) > 0 {
		t.Errorf("without a job: %v, %v", got, err)
	}
	a.configure(b, config.ReplicationJob{Direction: config.DirectionPull, Run: config.RunPeer})
	if got, err := a.bases(ctx); err != nil || len(got) > 0 {
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
	got, err := a.bases(ctx)
	a.must(err)
	want := snapshots.Bases{guids["tank/in/tank/data"]: "replication job offsite", guids["tank/in/tank/data/x"]: "replication job offsite"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("bases (-want +got):\n%s", diff)
	}
	a.faulty.Crash()
	if got, err := a.bases(ctx); !errors.Is(err, zfstest.ErrCrashed) || !strings.Contains(err.Error(), "offsite") || got != nil {
		t.Errorf("where nothing can be listed: %v, %v", got, err)
	}
	a.faulty.Restart()
	// The domain of the schedules is made with them.
	spec := snapshots.Spec{Policies: []snapshots.Policy{{
		Name: "p", Prefix: "p-", Targets: []snapshots.Target{{Dataset: "tank/in/tank/data"}}, Keep: snapshots.Retention{Last: 1},
	}}}
	obs, err := a.snapshotDomain().Observe(ctx, spec)
	a.must(err)
	if diff := cmp.Diff(want, obs.Bases); diff != "" || obs.Unknown != "" {
		t.Errorf("what the domain knows (-want +got): %s\n%s", obs.Unknown, diff)
	}
}
