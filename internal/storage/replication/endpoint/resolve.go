package endpoint

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Resolve implements replication.Receiver.
func (l *Local) Resolve(ctx context.Context, r replication.ResolveRequest) error {
	if err := l.allow(ctx, r.Fence, false); err != nil {
		return err
	}
	d := r.Decision
	if !slices.ContainsFunc(r.Roots, func(root string) bool { return d.Target == root || strings.HasPrefix(d.Target, root+"/") }) {
		return fmt.Errorf("resolve: %s is not below %s", d.Target, strings.Join(r.Roots, " or "))
	}
	switch d.Kind {
	case replication.RollBack:
		if err := l.rollBack(ctx, d); err != nil {
			return err
		}
		return l.adopt(ctx, r)
	case replication.Adopt:
		if _, _, err := l.snapshot(ctx, "", d.Target, d.To); err != nil {
			return err
		}
		return l.adopt(ctx, r)
	case replication.SetAside:
		return l.setAside(ctx, r)
	case replication.FollowRename:
		return l.followRename(ctx, r)
	case replication.AbortPartial:
		return l.abort(ctx, d.Target, d.To)
	}
	return fmt.Errorf("resolve: %q is no decision that is known", d.Kind)
}

// rollBack takes a dataset back to a snapshot, if what that destroys is what was named.
func (l *Local) rollBack(ctx context.Context, d replication.Decision) error {
	f, to, err := l.snapshot(ctx, "", d.Target, d.To)
	if err != nil {
		return err
	}
	var snapshots, bookmarks []string
	for _, v := range f.Versions {
		if v.CreateTXG <= to.CreateTXG {
			continue
		}
		name := f.Whole(v)
		if !slices.Contains(d.Destroys, strings.TrimPrefix(name, f.Name)) {
			return fmt.Errorf("roll %s back: it %w: %s is not among what was to be destroyed", f.Name, replication.ErrChanged, name)
		}
		if v.Bookmark {
			bookmarks = append(bookmarks, name)
		} else {
			snapshots = append(snapshots, name)
		}
	}
	if f.WrittenBytes > 0 && !d.Changes {
		return fmt.Errorf("roll %s back: it %w: it was written to", f.Name, replication.ErrChanged)
	}
	if f.Token != "" {
		if err := gone(l.system.AbortReceive(ctx, f.Name)); err != nil {
			return err
		}
	}
	if err := l.letGo(ctx, snapshots); err != nil {
		return err
	}
	if len(snapshots) > 0 {
		if err := l.system.DestroySnapshots(ctx, snapshots); err != nil {
			return err
		}
	}
	for _, name := range bookmarks {
		if err := gone(l.system.Destroy(ctx, name)); err != nil {
			return err
		}
	}
	return l.system.Rollback(ctx, f.Whole(*to))
}

// letGo takes the holds of replication away from snapshots that somebody has decided to destroy. Holds of others stay, and keep them.
func (l *Local) letGo(ctx context.Context, snapshots []string) error {
	if len(snapshots) == 0 {
		return nil
	}
	all, err := l.system.Holds(ctx, snapshots...)
	if err != nil {
		return err
	}
	for name, holds := range all {
		for _, h := range holds {
			if !strings.HasPrefix(h.Tag, replication.StepTag("")) && !strings.HasPrefix(h.Tag, replication.LastTag("")) {
				continue
			}
			if err := l.system.Release(ctx, h.Tag, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// adopt marks a dataset as a replica of the job.
func (l *Local) adopt(ctx context.Context, r replication.ResolveRequest) error {
	f, err := l.one(ctx, "", r.Decision.Target)
	if err != nil {
		return err
	}
	if f == nil {
		return fmt.Errorf("%s %w: it is gone", r.Decision.Target, replication.ErrChanged)
	}
	// As a replica it is not mounted, and what is received takes the place of its intent log: zfs receive does not count that as a change
	// (dsl_dataset_modified_since_snap in module/zfs/dsl_dataset.c, OpenZFS 2.3.9). What comes of it is one, about which a person decides.
	if err := l.replay(ctx, f); err != nil {
		return fmt.Errorf("make a replica of %s: %w", f.Name, err)
	}
	properties := map[string]string{
		"readonly": "on", replication.PropertyReplica: r.Job, replication.PropertySource: r.Source.String(),
		replication.PropertyStream: r.Stream.String(),
	}
	if f.Kind == zfs.Filesystem {
		properties["canmount"] = "off"
	}
	note, err := l.noteAdopted(ctx, r.Roots, f)
	if err != nil {
		return err
	}
	if note != "" {
		properties[replication.PropertyBefore] = note
	}
	return l.shut(ctx, f.Name, properties)
}

// followRename renames a replica as its dataset was, and nothing else: it would go below or out of the way of what is received.
func (l *Local) followRename(ctx context.Context, r replication.ResolveRequest) error {
	d := r.Decision
	f, err := l.one(ctx, "", d.Name)
	switch {
	case err != nil:
		return err
	case f == nil:
		return fmt.Errorf("%s %w: it is gone", d.Name, replication.ErrChanged)
	case f.Replica != r.Job || f.Source == 0 || f.Source != r.Source:
		return fmt.Errorf("rename %s to %s: it %w: it is no replica of the dataset %s by this job", d.Name, d.Target, replication.ErrChanged, r.Source)
	}
	return l.system.Rename(ctx, d.Name, d.Target)
}

// setAside renames a dataset out of the way. What is below it goes along, and is no replica any more either.
func (l *Local) setAside(ctx context.Context, r replication.ResolveRequest) error {
	found, err := l.list(ctx, r.Job, r.Decision.Target, -1)
	if errors.Is(err, zfs.ErrNotExist) {
		return fmt.Errorf("%s %w: it is gone", r.Decision.Target, replication.ErrChanged)
	}
	if err != nil {
		return err
	}
	for i := range found {
		f := &found[i]
		if f.Replica != r.Job && !f.Marked {
			continue
		}
		for _, v := range f.Versions {
			if !v.Last {
				continue
			}
			if err := l.system.Release(ctx, replication.LastTag(r.Job), f.Whole(v)); err != nil {
				return err
			}
		}
		if err := l.unmark(ctx, f); err != nil {
			return err
		}
		// It stays closed, for a person to look at, though the tree that it lies in may be opened.
		if err := l.system.Inherit(ctx, f.Name, replication.PropertyBefore); err != nil {
			return err
		}
	}
	return l.system.Rename(ctx, r.Decision.Target, r.Decision.Name)
}

// unmark takes the marks of a replica away; the one by which it is found last.
func (l *Local) unmark(ctx context.Context, f *replication.FileSystem) error {
	for _, name := range []string{replication.PropertyPlaceholder, replication.PropertySource, replication.PropertyStream, replication.PropertyReplica} {
		if err := l.system.Inherit(ctx, f.Name, name); err != nil {
			return err
		}
	}
	return nil
}
