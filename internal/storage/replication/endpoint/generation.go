package endpoint

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Learn implements replication.Endpoint. A tree is read-only before it says that it is fenced, so that what was cut is done again.
func (l *Local) Learn(ctx context.Context, r replication.LearnRequest) error {
	states, err := l.roots(ctx, r.Roots)
	if err != nil {
		return err
	}
	for _, root := range states {
		if root.Generation > r.Generation {
			return fmt.Errorf("%s: generation %d %w, %d", root.Name, r.Generation, replication.ErrFenced, root.Generation)
		}
		if root.Generation == r.Generation {
			continue
		}
		noted := map[string]string{replication.PropertyGeneration: strconv.FormatUint(r.Generation, 10)}
		if slices.Contains(r.Primaries, root.Name) {
			if err := l.close(ctx, root.Name); err != nil {
				return err
			}
			noted["readonly"], noted[replication.PropertyFenced] = "on", strconv.FormatUint(r.Generation, 10)
		}
		if err := l.system.Set(ctx, root.Name, noted); err != nil {
			return err
		}
	}
	return nil
}

// close makes all below a root read-only that would not be by the root's being so: what has a value of its own, and all volumes. A volume that is in use
// follows what is set on itself, not what it inherits (module/zfs of OpenZFS 2.3.9: zfs_prop_set_special calls zvol_set_ro for the dataset that is set
// alone, and zvol_setup_zv reads the property when the device is opened first).
func (l *Local) close(ctx context.Context, root string) error {
	found, err := l.system.List(ctx, zfs.Query{
		Roots: []string{root}, Kinds: []zfs.Kind{zfs.Filesystem, zfs.Volume}, Depth: -1, Properties: []string{"readonly"},
	})
	if err != nil {
		return fmt.Errorf("fence %s: %w", root, err)
	}
	for _, d := range found {
		p := d.Properties["readonly"]
		own := p.Source == zfs.SourceLocal || p.Source == zfs.SourceReceived
		if own && p.Value == "on" || !own && d.Kind != zfs.Volume {
			continue
		}
		if err := l.system.Set(ctx, d.Name, map[string]string{"readonly": "on"}); err != nil {
			return fmt.Errorf("fence %s: %w", root, err)
		}
	}
	return nil
}

// Promote implements replication.Receiver. The generation comes first: from then on nothing is received any more. The mark of each replica goes last.
func (l *Local) Promote(ctx context.Context, r replication.PromoteRequest) error {
	if err := l.allow(ctx, r.Fence, false); err != nil {
		return err
	}
	generation := strconv.FormatUint(r.Generation, 10)
	for _, root := range r.Roots {
		begin := map[string]string{replication.PropertyGeneration: generation, replication.PropertyPromoting: generation}
		if err := l.system.Set(ctx, root, begin); err != nil {
			return fmt.Errorf("promote %s: %w", root, err)
		}
	}
	for _, root := range r.Roots {
		found, err := l.list(ctx, r.Job, root, -1)
		if err != nil {
			return err
		}
		for i := range found {
			if f := &found[i]; f.Replica == r.Job {
				if err := l.open(ctx, r, f); err != nil {
					return fmt.Errorf("promote %s: %w", f.Name, err)
				}
			}
		}
	}
	for _, root := range r.Roots {
		if len(r.Properties) > 0 {
			if err := l.system.Set(ctx, root, r.Properties); err != nil {
				return fmt.Errorf("promote %s: %w", root, err)
			}
		}
		for _, name := range []string{replication.PropertyFenced, replication.PropertyPromoting} {
			if err := l.system.Inherit(ctx, root, name); err != nil {
				return fmt.Errorf("promote %s: %w", root, err)
			}
		}
	}
	return nil
}

// open makes a primary of one replica.
func (l *Local) open(ctx context.Context, r replication.PromoteRequest, f *replication.FileSystem) error {
	if f.Token != "" {
		if err := gone(l.system.AbortReceive(ctx, f.Name)); err != nil {
			return err
		}
	}
	if len(f.Snapshots()) == 0 {
		return nil // it was the beginning of a first receive
	}
	if c := f.Changed(); c != nil {
		i := slices.IndexFunc(r.Decisions, func(d replication.Decision) bool { return slices.ContainsFunc(c.Options, d.Equal) })
		if i < 0 {
			return c
		}
		if d := r.Decisions[i]; d.Kind == replication.RollBack {
			if err := l.rollBack(ctx, d); err != nil {
				return err
			}
		}
	}
	if err := l.system.Set(ctx, f.Name, map[string]string{"readonly": "off"}); err != nil {
		return err
	}
	if f.Kind == zfs.Filesystem {
		if err := l.mountable(ctx, f.Name); err != nil {
			return err
		}
	}
	return l.unmark(ctx, f)
}

// mountable takes away what a receive has set to keep a file system from being mounted, and nothing else. The mount point goes first: zfs inherit has
// no -u, and mounts what canmount lets it at the inherited place (changelist_postfix in lib/libzfs/libzfs_changelist.c of OpenZFS 2.3.9). Canmount
// cannot be inherited (PROP_DEFAULT in module/zcommon/zfs_prop.c), and is set to what a file system has from the start.
func (l *Local) mountable(ctx context.Context, name string) error {
	d, err := l.settings(ctx, name, "mountpoint", "canmount")
	if err != nil {
		return err
	}
	shut := closed(zfs.Filesystem)
	if localOf(d, "mountpoint") == shut["mountpoint"] {
		if err := l.system.Inherit(ctx, name, "mountpoint"); err != nil {
			return err
		}
	}
	if localOf(d, "canmount") == shut["canmount"] {
		return l.system.Set(ctx, name, map[string]string{"canmount": "on"})
	}
	return nil
}

// settings reads properties of one file system or volume.
func (l *Local) settings(ctx context.Context, name string, properties ...string) (zfs.Dataset, error) {
	found, err := l.system.List(ctx, zfs.Query{Roots: []string{name}, Kinds: []zfs.Kind{zfs.Filesystem, zfs.Volume}, Properties: properties})
	if err != nil {
		return zfs.Dataset{}, err
	}
	for _, d := range found {
		if d.Name == name {
			return d, nil
		}
	}
	return zfs.Dataset{}, fmt.Errorf("%s %w: it is gone", name, replication.ErrChanged)
}
