package machined

import (
	"context"
	"fmt"
	"strings"

	snapshotv1 "github.com/cyvive/cyvive/api/proto/snapshot/v1"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Clone implements server.Snapshots. What the node keeps for itself is not cloned: the clone could be mounted where pods are. Nor is one made in what replication receives,
// or what it has fenced: it would be in the way.
func (v snapshotsAPI) Clone(ctx context.Context, snapshot, name string) error {
	system, err := v.system(true)
	if err != nil {
		return err
	}
	of, _, _ := strings.Cut(snapshot, "@")
	if err := notOfSystem("clone", of); err != nil {
		return err
	}
	if err := notOfSystem("make", name); err != nil {
		return err
	}
	if err := notReceived(ctx, system, name); err != nil {
		return err
	}
	if err := system.Clone(ctx, snapshot, name, nil); err != nil {
		return datasetClassed(err)
	}
	v.a.log.Info("snapshot cloned over the API", "snapshot", snapshot, "dataset", name)
	return nil
}

// notReceived is an error for a dataset that would be made in a replica, or in a tree that is fenced. Both marks are inherited.
func notReceived(ctx context.Context, system zfs.System, name string) error {
	at := strings.LastIndexByte(name, '/')
	if at < 0 {
		return fmt.Errorf("make %.300s: %w: expected a dataset in a pool, such as tank/copy", name, server.ErrInvalid)
	}
	above, err := system.List(ctx, zfs.Query{
		Roots: []string{name[:at]}, Kinds: []zfs.Kind{zfs.Filesystem, zfs.Volume}, Properties: []string{replication.PropertyReplica, replication.PropertyFenced},
	})
	if err != nil {
		return datasetClassed(err)
	}
	for _, d := range above {
		for _, mark := range []string{replication.PropertyReplica, replication.PropertyFenced} {
			if value := d.Properties[mark].Value; value != "" && value != "-" {
				return fmt.Errorf("make %s: %w: replication decides what is in %s", name, server.ErrPrecondition, d.Name)
			}
		}
	}
	return nil
}

// Diff implements server.Snapshots.
func (v snapshotsAPI) Diff(ctx context.Context, from, to string) (*snapshotv1.DiffResponse, error) {
	system, err := v.system(false)
	if err != nil {
		return nil, err
	}
	if v.a.cfg.Pools.Diff == nil {
		return nil, fmt.Errorf("%w: this node compares no snapshots", server.ErrPrecondition)
	}
	if err := differ(ctx, system, from, to); err != nil {
		return nil, err
	}
	changes, more, err := v.a.cfg.Pools.Diff(ctx, from, to)
	if err != nil {
		return nil, datasetClassed(err)
	}
	kinds := map[zfs.ChangeKind]snapshotv1.ChangeKind{
		zfs.Added: snapshotv1.ChangeKind_CHANGE_KIND_ADDED, zfs.Removed: snapshotv1.ChangeKind_CHANGE_KIND_REMOVED,
		zfs.Modified: snapshotv1.ChangeKind_CHANGE_KIND_MODIFIED, zfs.Renamed: snapshotv1.ChangeKind_CHANGE_KIND_RENAMED,
	}
	out := &snapshotv1.DiffResponse{Truncated: more}
	for _, c := range changes {
		out.Changes = append(out.Changes, &snapshotv1.Change{Kind: kinds[c.Kind], Path: valid(c.Path), NewPath: valid(c.NewPath)})
	}
	return out, nil
}

// differ is an error for snapshots that ZFS cannot compare.
func differ(ctx context.Context, system zfs.System, from, to string) error {
	of, _, _ := strings.Cut(from, "@")
	if other, _, _ := strings.Cut(to, "@"); other != of {
		return fmt.Errorf("compare %s with %s: %w: expected two snapshots of one file system", from, to, server.ErrInvalid)
	}
	list, err := system.List(ctx, zfs.Query{
		Roots: []string{of}, Kinds: []zfs.Kind{zfs.Filesystem, zfs.Volume, zfs.Snapshot}, Properties: []string{"mounted"},
	})
	if err != nil {
		return datasetClassed(err)
	}
	found := map[string]zfs.Dataset{}
	for _, d := range list {
		found[d.Name] = d
	}
	for _, name := range []string{from, to} {
		if _, there := found[name]; !there {
			return fmt.Errorf("snapshot %s: %w", name, server.ErrNotFound)
		}
	}
	switch {
	case found[of].Kind == zfs.Volume:
		return fmt.Errorf("compare snapshots of %s: %w: it is a volume, and has no files", of, server.ErrPrecondition)
	case found[of].Properties["mounted"].Value == "no":
		return fmt.Errorf("compare snapshots of %s: %w: it is not mounted, which ZFS needs for that", of, server.ErrPrecondition)
	case found[from].CreateTXG >= found[to].CreateTXG:
		return fmt.Errorf("compare %s with %s: %w: expected the earlier one first", from, to, server.ErrInvalid)
	}
	return nil
}

// Bookmarks implements server.Snapshots. Those by which replication knows what the other side has are among them.
func (v snapshotsAPI) Bookmarks(ctx context.Context, name string, recursive bool) ([]*snapshotv1.Snapshot, error) {
	system, err := v.system(false)
	if err != nil {
		return nil, err
	}
	q := zfs.Query{Kinds: []zfs.Kind{zfs.Bookmark}, Depth: -1}
	if name != "" {
		q.Roots = []string{name}
		if !recursive {
			q.Depth = 0
		}
	}
	ctx, end, err := v.a.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	list, err := system.List(ctx, q)
	if err != nil {
		return nil, datasetClassed(err)
	}
	var out []*snapshotv1.Snapshot
	for _, b := range list {
		out = append(out, &snapshotv1.Snapshot{Name: valid(b.Name), Guid: uint64(b.GUID), CreatedAt: stamped(b.Created)})
	}
	return out, nil
}

// Bookmark implements server.Snapshots.
func (v snapshotsAPI) Bookmark(ctx context.Context, snapshot, name string) (string, error) {
	system, err := v.system(true)
	if err != nil {
		return "", err
	}
	of, _, _ := strings.Cut(snapshot, "@")
	bookmark := of + "#" + name
	if err := system.Bookmark(ctx, snapshot, bookmark); err != nil {
		return "", datasetClassed(err)
	}
	v.a.log.Info("bookmark made over the API", "bookmark", bookmark, "snapshot", snapshot)
	return bookmark, nil
}

// DestroyBookmarks implements server.Snapshots.
func (v snapshotsAPI) DestroyBookmarks(ctx context.Context, names []string) error {
	system, err := v.system(true)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.Contains(name, "#") {
			return fmt.Errorf("destroy %.300s: %w: it is no bookmark", name, server.ErrInvalid)
		}
		if err := system.Destroy(ctx, name); err != nil {
			return datasetClassed(err)
		}
		v.a.log.Warn("bookmark destroyed", "bookmark", name)
	}
	return nil
}
