package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	snapshotv1 "github.com/cyvive/cyvive/api/proto/snapshot/v1"
)

// twoSnapshots is a schedule that keeps two, without how often it makes them.
const twoSnapshots = `
apiVersion: cyvive.dev/v1alpha1
kind: SnapshotSchedule
name: often
datasets: [{name: tank/data}]
prefix: often-
keep: {last: 2}
`

// oftenSchedule makes snapshots as often as a schedule can, and keeps two.
const oftenSchedule = twoSnapshots + "schedule: every 10s\n"

// noSchedule takes it away; its snapshots stay.
const noSchedule = `
apiVersion: cyvive.dev/v1alpha1
kind: SnapshotSchedule
name: often
$patch: delete
`

// clonedDataset declares a dataset that is a clone, to be mounted on clonedDir.
const (
	clonedDataset = `
apiVersion: cyvive.dev/v1alpha1
kind: Dataset
name: tank/copy
properties: {mountpoint: /var/mnt/copy}
`
	clonedDir = "/var/mnt/copy"
)

// snapshots are the whole names of those of a dataset that begin with a prefix, by name, which is by age where the prefix is that of a schedule.
func (p *pooled) snapshots(ctx context.Context, dataset, prefix string) (names []string, err error) {
	var list snapshotv1.ListResponse
	if err := p.ask(ctx, &list, "snapshot", "list", dataset); err != nil {
		return nil, err
	}
	for _, s := range list.GetSnapshots() {
		if strings.HasPrefix(s.GetName(), dataset+"@"+prefix) {
			names = append(names, s.GetName())
		}
	}
	slices.Sort(names)
	return names, nil
}

// nextSnapshot waits until a schedule has made one more, and returns it: it has all that was written before the call.
func (p *pooled) nextSnapshot(t *testing.T, ctx context.Context, dataset, prefix string) (name string) {
	t.Helper()
	before, err := p.snapshots(ctx, dataset, prefix)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, ctx, "the schedule makes a snapshot", func(ctx context.Context) error {
		now, err := p.snapshots(ctx, dataset, prefix)
		if err != nil {
			return err
		}
		if len(now) == 0 || len(before) > 0 && now[len(now)-1] <= before[len(before)-1] {
			return fmt.Errorf("there were %q, and are %q", before, now)
		}
		name = now[len(now)-1]
		return nil
	})
	return name
}

// testSnapshots: a schedule makes snapshots and prunes them, but for one that is held, and the dataset is taken back to that.
func testSnapshots(t *testing.T, ctx context.Context, p *pooled) {
	file := poolsDir + "/state"
	p.put(t, ctx, file, []byte("before"))
	p.apply(t, ctx, oftenSchedule)
	held := p.nextSnapshot(t, ctx, "tank/data", "often-")
	p.do(t, ctx, "snapshot", "hold", "e2e", held)
	for range 3 { // two are kept, and so no rule keeps the one that is held
		p.nextSnapshot(t, ctx, "tank/data", "often-")
	}
	eventually(t, ctx, "the schedule prunes all but the last two and the one that is held", func(ctx context.Context) error {
		now, err := p.snapshots(ctx, "tank/data", "often-")
		// A third is there from when it is made until the pruning behind that.
		if err == nil && (len(now) != 3 || now[0] != held) {
			err = fmt.Errorf("there are %q", now)
		}
		return err
	})
	p.wantFate(t, ctx, held, snapshotv1.Fate_FATE_STUCK, "")
	p.apply(t, ctx, noSchedule)

	p.put(t, ctx, file, []byte("after"))
	if _, err := p.tell(ctx, "tank\n", "snapshot", "rollback", held); err == nil || !strings.Contains(err.Error(), "not the name of the dataset") {
		t.Errorf("a rollback that was confirmed with another name: %v", err)
	}
	p.has(t, ctx, file, []byte("after"))
	if _, err := p.tell(ctx, "tank/data\n", "snapshot", "rollback", held); err != nil {
		t.Fatal(err)
	}
	p.has(t, ctx, file, []byte("before"))
	if now, err := p.snapshots(ctx, "tank/data", ""); err != nil || !slices.Equal(now, []string{held}) {
		t.Errorf("behind the rollback there are %q, %v, want %s alone", now, err, held)
	}
	p.compareAndClone(t, ctx, held)
	p.do(t, ctx, "snapshot", "release", "e2e", held)
}

// compareAndClone compares the snapshot with a later one, and makes a dataset of it, which a document mounts. That stays.
func (p *pooled) compareAndClone(t *testing.T, ctx context.Context, snapshot string) {
	t.Helper()
	p.put(t, ctx, poolsDir+"/more", []byte("more"))
	p.do(t, ctx, "snapshot", "create", "later", "tank/data")
	var diff snapshotv1.DiffResponse
	if err := p.ask(ctx, &diff, "snapshot", "diff", snapshot, "tank/data@later"); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(diff.GetChanges(), func(c *snapshotv1.Change) bool {
		return c.GetKind() == snapshotv1.ChangeKind_CHANGE_KIND_ADDED && c.GetPath() == poolsDir+"/more"
	}) {
		t.Errorf("between %s and a later one: %v, want that %s/more was added", snapshot, diff.GetChanges(), poolsDir)
	}
	p.do(t, ctx, "snapshot", "clone", snapshot, "tank/copy")
	p.apply(t, ctx, clonedDataset)
	p.awaitMounted(t, ctx, "tank/copy", clonedDir)
	p.has(t, ctx, clonedDir+"/state", []byte("before"))
	p.hasNot(t, ctx, clonedDir+"/more")
}

// wantFate wants the preview to have a fate for a snapshot, for a reason.
func (p *pooled) wantFate(t *testing.T, ctx context.Context, snapshot string, fate snapshotv1.Fate, reason string) {
	t.Helper()
	var preview snapshotv1.PreviewPruneResponse
	if err := p.ask(ctx, &preview, "snapshot", "preview"); err != nil {
		t.Fatal(err)
	}
	for _, v := range preview.GetVerdicts() {
		if v.GetSnapshot() == snapshot {
			if v.GetFate() != fate || !strings.Contains(strings.Join(v.GetReasons(), "; "), reason) {
				t.Errorf("the preview says %v, want %s: %q", v, fate, reason)
			}
			return
		}
	}
	t.Errorf("the preview does not have %s: %v", snapshot, preview.GetVerdicts())
}
