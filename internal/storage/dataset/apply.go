package dataset

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// retryAfter is how long a dataset is left alone after ZFS has refused to change it.
const retryAfter = time.Minute

// Apply carries out one operation. What is refused is kept as a condition of the dataset, and tried again after a while: the others do not wait for it, nor does
// its mount for a property. The error is only that of a context which ended.
func (r *Reconciler) Apply(ctx context.Context, _ Spec, op Op) error {
	refused := r.refused
	if op.Verb == Seal || op.Verb == Mount || op.Verb == Unmount {
		refused = r.unmounted
	}
	if _, waits := refused[op.Dataset]; waits || op.Verb == Mount && r.misses(op.Target) {
		r.miss(op)
		return nil // an operation before this one was refused since the last look
	}
	err := r.carry(ctx, op)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		r.miss(op)
		refused[op.Dataset] = refusal{why: err.Error(), until: r.uptime() + retryAfter}
	}
	return nil
}

// miss notes that something is not mounted which Diff has counted on.
func (r *Reconciler) miss(op Op) {
	if op.Verb == Mount {
		r.missed = append(r.missed, op.Target)
	}
}

// misses says that what a target lies in was to be mounted before, and could not be. The target would lie in its mount point, which is then no empty one. What was
// refused before the last look is not asked for: what Diff returns since then does not count on it.
func (r *Reconciler) misses(target string) bool {
	return slices.ContainsFunc(r.missed, func(above string) bool { return isBelow(target, above) })
}

// carry carries out one operation of Diff.
func (r *Reconciler) carry(ctx context.Context, op Op) error {
	switch op.Verb {
	case Seal:
		if err := r.mounts.Seal(ctx, op.Target); err != nil {
			return err
		}
		r.sealed[op.Target] = true
		return nil
	case Mount, Unmount:
		clear(r.sealed) // what lies in it has its mount points elsewhere now
		if op.Verb == Unmount {
			return r.mounts.Unmount(ctx, op.Target)
		}
		return r.mounts.Mount(ctx, op.Dataset, op.Target, op.Options)
	}
	return Carry(ctx, r.system, op)
}

// Carry carries out one operation on a system that is none on mounts, be it of Diff or of [PlanDestroy].
func Carry(ctx context.Context, system zfs.System, op Op) error {
	switch op.Verb {
	case Create:
		return system.Create(ctx, op.Dataset, zfs.CreateOptions{SizeBytes: op.SizeBytes, Sparse: op.Sparse, Properties: op.Properties})
	case Set:
		return system.Set(ctx, op.Dataset, op.Properties)
	case Inherit:
		return system.Inherit(ctx, op.Dataset, op.Property)
	case DestroySnapshots:
		return system.DestroySnapshots(ctx, op.Snapshots)
	case Destroy:
		return system.Destroy(ctx, op.Dataset)
	}
	panic(fmt.Sprintf("dataset: unknown operation %q", op.Verb))
}
