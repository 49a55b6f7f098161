package machined

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	snapshotv1 "github.com/cyvive/cyvive/api/proto/snapshot/v1"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// loss is what a rollback loses.
type loss struct {
	dataset              string
	snapshots, bookmarks []string
	written              uint64
}

// names are all, in order.
func (l loss) names() []string { return slices.Concat(l.snapshots, l.bookmarks) }

// lossOf looks at what came after a snapshot. Bookmarks are in the way of a rollback as snapshots are (dsl_dataset_rollback_check in module/zfs/dsl_dataset.c,
// 2.3.9).
func lossOf(ctx context.Context, system zfs.System, snapshot string) (loss, error) {
	l := loss{}
	l.dataset, _, _ = strings.Cut(snapshot, "@")
	list, err := system.List(ctx, zfs.Query{
		Roots: []string{l.dataset}, Kinds: []zfs.Kind{zfs.Filesystem, zfs.Volume, zfs.Snapshot, zfs.Bookmark}, Properties: []string{"written"},
	})
	if err != nil {
		return loss{}, err
	}
	at := slices.IndexFunc(list, func(d zfs.Dataset) bool { return d.Kind == zfs.Snapshot && d.Name == snapshot })
	if at < 0 {
		return loss{}, fmt.Errorf("find snapshot %s: it %w", snapshot, zfs.ErrNotExist)
	}
	txg := list[at].CreateTXG
	slices.SortStableFunc(list, func(a, b zfs.Dataset) int { return cmp.Compare(a.CreateTXG, b.CreateTXG) })
	for _, d := range list {
		of, _, _ := strings.Cut(d.Name, "@")
		of, _, _ = strings.Cut(of, "#")
		written, _ := strconv.ParseUint(d.Properties["written"].Value, 10, 64)
		switch {
		case of != l.dataset:
		case d.Kind == zfs.Snapshot && d.CreateTXG > txg:
			l.snapshots, l.written = append(l.snapshots, d.Name), l.written+written
		case d.Kind == zfs.Bookmark && d.CreateTXG > txg:
			l.bookmarks = append(l.bookmarks, d.Name)
		case d.Name == l.dataset:
			l.written += written
		}
	}
	return l, nil
}

// rolling is system for a rollback, which the node's own datasets are refused: what they hold is in use, and etcd must never see its past again.
func (v snapshotsAPI) rolling(snapshot string, changes bool) (zfs.System, error) {
	system, err := v.system(changes)
	if err != nil {
		return nil, err
	}
	of, _, _ := strings.Cut(snapshot, "@")
	return system, notOfSystem("take back", of)
}

// PlanRollback implements server.Snapshots.
func (v snapshotsAPI) PlanRollback(ctx context.Context, snapshot string) (*snapshotv1.PlanRollbackResponse, error) {
	system, err := v.rolling(snapshot, false)
	if err != nil {
		return nil, err
	}
	ctx, end, err := v.a.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	l, err := lossOf(ctx, system, snapshot)
	if err != nil {
		return nil, datasetClassed(err)
	}
	return &snapshotv1.PlanRollbackResponse{Dataset: l.dataset, Lost: l.names(), WrittenBytes: l.written}, nil
}

// Rollback implements server.Snapshots. Later snapshots go first, in one transaction, which fails where one of them is held or cloned; then nothing has changed.
func (v snapshotsAPI) Rollback(ctx context.Context, snapshot, confirm string, lost []string) error {
	system, err := v.rolling(snapshot, true)
	if err != nil {
		return err
	}
	l, err := lossOf(ctx, system, snapshot)
	if err != nil {
		return datasetClassed(err)
	}
	if confirm != l.dataset {
		return fmt.Errorf("%w: the confirmation %.300q is not the name of the dataset, %q", server.ErrInvalid, confirm, l.dataset)
	}
	named, found := slices.Sorted(slices.Values(lost)), slices.Sorted(slices.Values(l.names()))
	if !slices.Equal(named, found) {
		return fmt.Errorf("%w: what would be lost is not what the request names, but: %s", server.ErrPrecondition, orNone(l.names()))
	}
	if len(l.snapshots) > 0 {
		if err := system.DestroySnapshots(ctx, l.snapshots); err != nil {
			return datasetClassed(err)
		}
	}
	for _, b := range l.bookmarks {
		if err := system.Destroy(ctx, b); err != nil {
			return datasetClassed(err)
		}
	}
	if err := system.Rollback(ctx, snapshot); err != nil {
		return datasetClassed(err)
	}
	v.a.log.Warn("dataset taken back", "dataset", l.dataset, "snapshot", snapshot, "lost", orNone(l.names()))
	v.a.events.Add(server.EventAgent, "dataset "+l.dataset, "taken back to "+snapshot, "lost with it: "+orNone(l.names()))
	return nil
}
