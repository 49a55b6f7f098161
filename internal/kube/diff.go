package kube

import (
	"maps"
	"path/filepath"
	"slices"

	"github.com/cyvive/cyvive/internal/container"
)

// Kind is what an operation does.
type Kind int

// The kinds of operations, in the order in which they come.
const (
	// WriteSecrets issues the certificates of all containers.
	WriteSecrets Kind = iota + 1
	// WriteFile replaces the plane's file Target by Content.
	WriteFile
	// Run ensures the container Target.
	Run
	// ImportImages brings the archive Target into the plane.
	ImportImages
	// LabelNode marks the node as one of the control plane.
	LabelNode
)

// Op is one operation of the domain.
type Op struct {
	Kind            Kind
	Target, Content string
}

// String says what the operation does, without contents.
func (o Op) String() string {
	switch o.Kind {
	case WriteSecrets:
		return "issue certificates of kubernetes"
	case WriteFile:
		return "write " + o.Target
	case Run:
		return "run container " + o.Target
	case ImportImages:
		return "import images of " + filepath.Base(o.Target)
	case LabelNode:
		return "label node as control plane"
	}
	return "unknown operation"
}

// Diff returns what leads from obs to spec. It is pure.
//
// The order is that in which the parts can work: files before the containers that
// read them; the API server and the plane at once, for both take long to start;
// controller-manager and scheduler when the API server is ready, since they exit
// if they wait too long for it; images before the CNI configuration, without
// which the node is not Ready, so that no pod is placed here before its image is.
func (r *Reconciler) Diff(spec Spec, obs Observed) []Op {
	if obs.Unavailable {
		return nil
	}
	var ops []Op
	for _, name := range secretSets() {
		if !obs.SecretsCurrent[name] {
			ops = append(ops, Op{Kind: WriteSecrets})
			break
		}
	}
	cni := filepath.Join(r.layout.PlaneRun, cniFile)
	for _, path := range slices.Sorted(maps.Keys(obs.StaleFiles)) {
		if path != cni {
			ops = append(ops, Op{Kind: WriteFile, Target: path, Content: obs.StaleFiles[path]})
		}
	}
	for _, c := range r.startable(spec, obs) {
		if needsRun(c, obs) {
			ops = append(ops, Op{Kind: Run, Target: c.Name})
		}
	}
	for _, archive := range obs.ImagesMissing {
		ops = append(ops, Op{Kind: ImportImages, Target: archive})
	}
	if content, stale := obs.StaleFiles[cni]; stale && obs.PlaneUp {
		ops = append(ops, Op{Kind: WriteFile, Target: cni, Content: content})
	}
	if n := obs.API.Node; n != nil && !n.ControlPlane {
		ops = append(ops, Op{Kind: LabelNode})
	}
	return ops
}

// startable returns the containers that can work now.
func (r *Reconciler) startable(spec Spec, obs Observed) []container.Spec {
	control := controlPlane(spec, r.layout)
	list := []container.Spec{control[0], workloadPlane(spec, r.layout)}
	for _, c := range control[1:] {
		if _, exists := obs.Containers[c.Name]; exists || obs.API.Ready {
			list = append(list, c)
		}
	}
	return list
}

// needsRun reports whether Ensure has something to do now.
func needsRun(c container.Spec, obs Observed) bool {
	info, exists := obs.Containers[c.Name]
	if !exists || info.Hash != c.Hash() {
		return true
	}
	if info.State == container.Running || info.State == container.Paused {
		return false
	}
	return !obs.Now.Before(info.NextStart)
}
