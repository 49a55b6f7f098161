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
		if err := store.Replace(op.Target, []byte(op.Content), 0o644, 0); err != nil {
			return err
		}
		if op.Pods.IsValid() {
			return keepPodRange(r.layout.PodRange, spec, op.Pods)
		}
		return nil
	case WriteRegistries:
		return writeRegistries(r.layout.PlaneRegistries, registryFiles(spec.Registries))
	case End:
		return r.system.Stop(ctx, op.Target, endTimeout)
	case EndPlane:
		if err := r.kubelet.Stop(ctx, plane, 0); err != nil {
			return err
		}
		return forgetPodRange(r.layout.PodRange)
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
	case ApplyVolumes:
		if err := r.api.Apply(ctx, spec, op.Manifests); err != nil {
			return err
		}
		r.volumesApplied = r.now()
		return nil
	}
	return fmt.Errorf("apply operation %d: not known", int(op.Kind))
}

// writeSecrets writes the set of the workload plane, or those of all others.
func (r *Reconciler) writeSecrets(spec Spec, target string) error {
	now := r.now()
	inside := map[string]string{apiServer: "/secrets", controllerManager: "/secrets", scheduler: "/secrets", csiControllers: "/secrets"}
	sets, err := Secrets(spec, inside, now)
	if err != nil {
		return err
	}
	stamp := store.Stamp{Inputs: inputs(spec), RenewAt: now.Add(renewAfter), MadeAt: now}
	uids := map[string]int{apiServer: apiServerUID, controllerManager: controllerManagerUID, scheduler: schedulerUID, csiControllers: CSIControllersUID}
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

// planeFileSystems are in memory and bound in the plane, whose root can fill them, put
// links and what cannot be removed into them, and make them writable or not, whatever
// its mounts say: each is a file system of its own, and no plane begins with one that
// another has had.
func (r *Reconciler) planeFileSystems() []FileSystem {
	return []FileSystem{
		{Dir: r.layout.PlaneRun, Mode: 0o755},
		{Dir: r.layout.PlaneCNI, Mode: 0o755, SizeBytes: 1 << 20},
		// As much as a configuration can have of mirrors and passwords (package config).
		{Dir: r.layout.PlaneRegistries, Mode: 0o700, SizeBytes: 16 << 20},
		{Dir: filepath.Join(r.layout.Secrets, plane), Mode: 0o700, SizeBytes: 4 << 20},
	}
}

// runPlane ends a plane of another specification, and starts one on file systems in
// which there is only what the node has put there now. A plane that runs as it should is
// left alone.
func (r *Reconciler) runPlane(ctx context.Context, spec Spec) error {
	c := workloadPlane(spec, r.layout)
	infos, err := r.kubelet.List(ctx)
	if err != nil {
		return err
	}
	for _, info := range infos {
		if info.Name != plane {
			continue
		}
		if info.Hash != c.Hash() {
			if err := r.kubelet.Stop(ctx, plane, 0); err != nil {
				return err
			}
		} else if hasPlane(info) {
			return r.kubelet.Ensure(ctx, c)
		}
	}
	for _, f := range r.planeFileSystems() {
		if err := r.empty(f); err != nil {
			return fmt.Errorf("empty %s for the workload plane: %w", f.Dir, err)
		}
	}
	if err := os.MkdirAll(r.layout.PlaneVar, 0o755); err != nil {
		return fmt.Errorf("make directory of the workload plane: %w", err)
	}
	if err := r.writeSecrets(spec, plane); err != nil {
		return err
	}
	files, err := r.nodeCopies()
	if err != nil {
		return err
	}
	for path, content := range files {
		if err := store.Replace(path, []byte(content), 0o644, 0); err != nil {
			return err
		}
	}
	if err := writeRegistries(r.layout.PlaneRegistries, registryFiles(spec.Registries)); err != nil {
		return err
	}
	return r.kubelet.Ensure(ctx, c)
}

// run ensures a container, and makes the directories that it has bound.
func (r *Reconciler) run(ctx context.Context, spec Spec, name string) error {
	if name == plane {
		return r.runPlane(ctx, spec)
	}
	for _, c := range controlPlane(spec, r.layout) {
		if c.Name != name {
			continue
		}
		if err := r.prepare(name); err != nil {
			return err
		}
		return r.system.Ensure(ctx, c)
	}
	return fmt.Errorf("run container %s: not one of kubernetes", name)
}

// prepare makes the directory that a container of the control plane has bound, if it has one.
func (r *Reconciler) prepare(name string) error {
	switch name {
	case apiServer:
		return makeDir(filepath.Join(r.layout.Log, apiServer), "the audit log", 0o700, apiServerUID, apiServerUID)
	case csiControllers:
		// The driver's own, too. Whoever reaches a socket in it can have volumes made and destroyed.
		return makeDir(r.layout.CSI, "the CSI driver's socket", 0o750, 0, CSIControllersUID)
	}
	return nil
}

// makeDir makes a directory and gives it away. Only root can, and a test may not be.
func makeDir(dir, what string, mode os.FileMode, uid, gid int) error {
	if err := os.MkdirAll(dir, mode); err != nil {
		return fmt.Errorf("make directory of %s: %w", what, err)
	}
	if os.Geteuid() != 0 {
		return nil
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		return fmt.Errorf("give directory of %s away: %w", what, err)
	}
	return nil
}
