package snapshots

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// PolicyProperty is the user property of a snapshot that names the policy which made it. It is for people: the domain goes by names, which a replica has too.
const PolicyProperty = "dev.cyvive:schedule"

// retryAfter is how long what was refused is left alone.
const retryAfter = 5 * time.Minute

// Apply carries out one operation. What the system refuses is kept, shown by [Reconciler.Status], and tried again after some minutes: the other datasets do not
// wait for it. The error is only that of a context which ended.
func (r *Reconciler) Apply(ctx context.Context, _ Spec, op Op) error {
	switch op.Verb {
	case Make:
		bounded, cancel := patiently(ctx)
		defer cancel()
		err := r.system.Snapshot(bounded, op.Snapshots, map[string]string{PolicyProperty: op.Policy})
		if errors.Is(err, zfs.ErrExist) {
			return nil // somebody has just made one of the name: the next look finds another
		}
		return r.note(ctx, refusedMake(op.Policy, op.Target), err)
	case Prune:
		return r.prune(ctx, op)
	}
	panic(fmt.Sprintf("snapshots: unknown operation %q", op.Verb))
}

// prune destroys all at once or, if one of them keeps that from being done, each by itself.
func (r *Reconciler) prune(ctx context.Context, op Op) error {
	err := r.destroy(ctx, op.Snapshots)
	one := len(op.Snapshots) == 1 || !errors.Is(err, zfs.ErrHeld) && !errors.Is(err, zfs.ErrHasDependents) && !errors.Is(err, zfs.ErrBusy)
	for _, name := range op.Snapshots {
		if err != nil && !one {
			if err := r.note(ctx, name, r.destroy(ctx, []string{name})); err != nil {
				return err
			}
			continue
		}
		if err := r.note(ctx, name, err); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reconciler) destroy(ctx context.Context, names []string) error {
	ctx, cancel := patiently(ctx)
	defer cancel()
	return r.system.DestroySnapshots(ctx, names)
}

// note keeps why something was refused, and forgets that if it was not. It returns the context's error.
func (r *Reconciler) note(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		delete(r.refused, what)
		return nil
	}
	r.refused[what] = refusal{why: err.Error(), until: r.clock().Uptime + retryAfter}
	return nil
}
