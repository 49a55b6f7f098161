package kube

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cyvive/cyvive/internal/pki/store"
)

// Apply carries out one operation; doing it twice is the same as once.
func (r *Reconciler) Apply(ctx context.Context, spec Spec, op Op) error {
	switch op.Kind {
	case WriteSecrets:
		return r.writeSecrets(spec, op.Target)
	case WriteFile:
		if err := os.MkdirAll(filepath.Dir(op.Target), 0o755); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
		return store.Replace(op.Target, []byte(op.Content), 0o644, 0)
	case End:
		return r.system.Stop(ctx, op.Target, endTimeout)
	case Run:
		return r.run(ctx, spec, op.Target)
	case ImportImages:
		r.importer.start(ctx)
		return nil
	case LabelNode:
		return r.api.MarkControlPlane(ctx, spec)
	case ApplyDNS:
		if err := r.api.Apply(ctx, spec, op.Manifests); err != nil {
			return err
		}
		r.dnsApplied = r.now()
		return nil
	}
	return fmt.Errorf("apply operation %d: not known", int(op.Kind))
}

// writeSecrets writes the set of the workload plane, or those of all others.
func (r *Reconciler) writeSecrets(spec Spec, target string) error {
	now := r.now()
	inside := map[string]string{apiServer: "/secrets", controllerManager: "/secrets", scheduler: "/secrets"}
	sets, err := Secrets(spec, inside, now)
	if err != nil {
		return err
	}
	stamp := store.Stamp{Inputs: inputs(spec), RenewAt: now.Add(renewAfter), MadeAt: now}
	uids := map[string]int{apiServer: apiServerUID, controllerManager: controllerManagerUID, scheduler: schedulerUID}
	for name, files := range sets {
		if (name == plane) != (target == plane) {
			continue
		}
		if err := store.Write(filepath.Join(r.layout.Secrets, name), uids[name], files, stamp); err != nil {
			return err
		}
	}
	return nil
}

// run makes the directories that the container has bound, and ensures it.
func (r *Reconciler) run(ctx context.Context, spec Spec, name string) error {
	if name == plane {
		for _, dir := range []string{r.layout.PlaneRun, r.layout.PlaneCNI, r.layout.PlaneVar} {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("make directory of the workload plane: %w", err)
			}
		}
		return r.kubelet.Ensure(ctx, workloadPlane(spec, r.layout))
	}
	for _, c := range controlPlane(spec, r.layout) {
		if c.Name != name {
			continue
		}
		if name == apiServer {
			if err := r.makeAuditLog(); err != nil {
				return err
			}
		}
		return r.system.Ensure(ctx, c)
	}
	return fmt.Errorf("run container %s: not one of kubernetes", name)
}

// makeAuditLog makes the directory of the API server's audit log, its own.
func (r *Reconciler) makeAuditLog() error {
	dir := filepath.Join(r.layout.Log, apiServer)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make directory of the audit log: %w", err)
	}
	if os.Geteuid() != 0 {
		return nil
	}
	if err := os.Chown(dir, apiServerUID, apiServerUID); err != nil {
		return fmt.Errorf("give directory of the audit log away: %w", err)
	}
	return nil
}
