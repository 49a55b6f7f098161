package endpoint

import (
	"context"
	"fmt"

	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Freeze implements replication.Freezer. A tree is read-only before its last snapshot is made, so that nothing comes after that.
func (l *Local) Freeze(ctx context.Context, r replication.FreezeRequest) error {
	if err := l.allow(ctx, r.Fence, true); err != nil {
		return err
	}
	states, err := l.Roots(ctx, r.Roots)
	if err != nil {
		return err
	}
	for _, root := range states {
		switch {
		case !root.Exists:
			return fmt.Errorf("freeze %s: it %w: it is gone", root.Name, replication.ErrChanged)
		case root.Replica != "":
			return fmt.Errorf("freeze %s: %w: it is a replica, and no primary", root.Name, replication.ErrUnsupported)
		case root.Generation == 0, root.Placeholder: // below which are replicas
			return fmt.Errorf("freeze %s: %w: it was never promoted, and is no primary", root.Name, replication.ErrUnsupported)
		}
	}
	for _, root := range states {
		if err := l.freeze(ctx, r, root.Name); err != nil {
			return fmt.Errorf("freeze %s: %w", root.Name, err)
		}
	}
	return nil
}

func (l *Local) freeze(ctx context.Context, r replication.FreezeRequest, root string) error {
	if err := l.close(ctx, root); err != nil {
		return err
	}
	found, err := l.list(ctx, r.Job, root, -1)
	if err != nil {
		return err
	}
	var names []string
	for i := range found {
		if f := &found[i]; !f.Placeholder && (f.Kind == zfs.Filesystem || f.Kind == zfs.Volume) {
			if err := l.replay(ctx, f); err != nil {
				return err
			}
			names = append(names, f.Name+"@"+r.Snapshot)
		}
	}
	return there(l.system.Snapshot(ctx, names, nil))
}
