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

// close makes all below a root read-only that would not be by the root's being so.
func (l *Local) close(ctx context.Context, root string) error {
	found, err := l.system.List(ctx, zfs.Query{
		Roots: []string{root}, Kinds: []zfs.Kind{zfs.Filesystem, zfs.Volume}, Depth: -1, Properties: []string{"readonly"},
	})
	if err != nil {
		return fmt.Errorf("fence %s: %w", root, err)
	}
	for _, d := range found {
		p := d.Properties["readonly"]
		if p.Value == "on" || p.Source != zfs.SourceLocal && p.Source != zfs.SourceReceived {
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
		for _, name := range []string{"canmount", "mountpoint"} {
			if err := l.inheritClosed(ctx, f.Name, name); err != nil {
				return err
			}
		}
	}
	return l.unmark(ctx, f)
}

// inheritClosed takes away what a receive has set to keep a file system from being mounted, and nothing else.
func (l *Local) inheritClosed(ctx context.Context, name, property string) error {
	found, err := l.system.List(ctx, zfs.Query{Roots: []string{name}, Kinds: []zfs.Kind{zfs.Filesystem}, Properties: []string{property}})
	if err != nil {
		return err
	}
	for _, d := range found {
		if value := localOf(d, property); d.Name == name && value != "" && value == closed(zfs.Filesystem)[property] {
			return l.system.Inherit(ctx, name, property)
		}
	}
	return nil
}
