package etcd

import (
	"context"
	"fmt"
	"os"

	"github.com/cyvive/cyvive/internal/pki/store"
)

// Apply carries out one operation; doing it twice is the same as once.
func (r *Reconciler) Apply(ctx context.Context, spec Spec, op Op) error {
	switch op {
	case WriteSecrets:
		return r.writeSecrets(spec)
	case RunMember:
		if err := r.makeData(); err != nil {
			return err
		}
		return r.containers.Ensure(ctx, member(spec, r.layout))
	}
	return fmt.Errorf("apply operation %d: not known", int(op))
}

func (r *Reconciler) writeSecrets(spec Spec) error {
	now := r.now()
	files, err := Secrets(spec, now)
	if err != nil {
		return err
	}
	return store.Write(r.layout.Secrets, UID, files, store.Stamp{Inputs: inputs(spec), RenewAt: now.Add(renewAfter), MadeAt: now})
}

// makeData makes the data directory, which etcd wants to be its own and private.
func (r *Reconciler) makeData() error {
	if err := os.MkdirAll(r.layout.Data, 0o700); err != nil {
		return fmt.Errorf("make data directory of etcd: %w", err)
	}
	if os.Geteuid() != 0 {
		return nil
	}
	if err := os.Chown(r.layout.Data, UID, UID); err != nil {
		return fmt.Errorf("give data directory to etcd: %w", err)
	}
	return nil
}
