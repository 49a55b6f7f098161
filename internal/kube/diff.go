package kube

import (
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/cyvive/cyvive/internal/container"
)

// Kind is what an operation does.
type Kind int

// The kinds of operations, in the order in which they come.
const (
	// WriteSecrets issues the certificates of the workload plane, if that is the
	// Target, or of all other containers.
	WriteSecrets Kind = iota + 1
	// WriteFile replaces the plane's file Target by Content.
	WriteFile
	// WriteRegistries brings what the plane's containerd is told of registries to the spec.
	WriteRegistries
	// End ends the container Target, which hangs.
	End
	// EndPlane ends the workload plane, whose pods have addresses of another range than the
	// node has now, and forgets the range that is kept.
	EndPlane
	// Run ensures the container Target.
	Run
	// ImportImages begins to bring the missing archives into the plane.
	ImportImages
	// LabelNode marks the node as one of the control plane.
	LabelNode
	// ApplyDNS applies the Manifests of cluster DNS, and before them that by which
	// pods know kubelets.
	ApplyDNS
	// ApplyVolumes applies the Manifests of volumes.
	ApplyVolumes
)

// Op is one operation of the domain.
type Op struct {
	Kind            Kind
	Target, Content string
	// Pods is a range to be kept over boots once the file is written; the zero Prefix is none.
	Pods      netip.Prefix
	Manifests []Manifest
}

// objectResync is how soon an object of cluster DNS or of volumes that somebody changed or deleted is put right on a node that is Ready: in a boot nothing
// waits for that, and an API server that has just come up has enough to do. A change of what it should be is applied at once.
const objectResync = 10 * time.Minute

// String says what the operation does, without contents.
func (o Op) String() string {
	switch o.Kind {
	case WriteSecrets:
		if o.Target == plane {
			return "issue certificates of the workload plane"
		}
		return "issue certificates of kubernetes"
	case WriteFile:
		return "write " + o.Target
	case WriteRegistries:
		return "write what is known of registries"
	case End:
		return "end container " + o.Target + ", which does not answer any more"
	case EndPlane:
		return "end the workload plane, whose pods have addresses of another range"
	case Run:
		return "run container " + o.Target
	case ImportImages:
		return "import images of the default bundle"
	case LabelNode:
		return "label node as control plane"
	case ApplyDNS:
		return "apply cluster DNS"
	case ApplyVolumes:
		return "apply objects of persistent volumes"
	}
	return "unknown operation"
}

// Diff returns what leads from obs to spec. It is pure.
//
// The order is that in which the parts can work: files before the containers that
// read them; what hangs is ended, and started when it is seen to be gone; the API
// server before its clients, since nothing works without it and its start takes a
// whole processor; then the rest at once; behind all of the control plane the workload
// plane, which starts beside the API server where there is a second processor, and whose
// kubelet waits for that by itself. Its start brings its files with it: those of a plane
// that runs are written alone, and its root can keep them from being written, but not the
// next plane from being started;
// images before the CNI configuration, without which the node is not Ready, so
// that no pod is placed here before its image is, and that as soon as the node's pod range is known: the one that it kept, until the API server tells of
// one, ready or not. Where that is another, the plane ends before anything else is done with it. Cluster DNS comes when there is a node for it, and what
// volumes need.
func (r *Reconciler) Diff(spec Spec, obs Observed) []Op {
	if obs.Unavailable {
		return nil
	}
	var ops []Op
	for _, name := range secretSets(spec) {
		if name != plane && !obs.SecretsCurrent[name] {
			ops = append(ops, Op{Kind: WriteSecrets})
			break
		}
	}
	for _, name := range slices.Sorted(maps.Keys(obs.Silent)) {
		if obs.Silent[name] >= silentMost {
			ops = append(ops, Op{Kind: End, Target: name})
		}
	}
	startable := r.startable(spec, obs)
	for _, c := range startable {
		if c.Name != plane && needsRun(c, obs) {
			ops = append(ops, Op{Kind: Run, Target: c.Name})
		}
	}
	if rangeChanged(obs) {
		return append(ops, Op{Kind: EndPlane}) // the rest follows from what is found after it
	}
	cni := filepath.Join(r.layout.PlaneCNI, cniFile)
	info, exists := obs.Containers[plane]
	switch {
	case slices.ContainsFunc(startable, func(c container.Spec) bool { return c.Name == plane && needsRun(c, obs) }):
		ops = append(ops, Op{Kind: Run, Target: plane})
	case exists && hasPlane(info):
		if !obs.SecretsCurrent[plane] {
			ops = append(ops, Op{Kind: WriteSecrets, Target: plane})
		}
		for _, path := range slices.Sorted(maps.Keys(obs.StaleFiles)) {
			if path != cni {
				ops = append(ops, Op{Kind: WriteFile, Target: path, Content: obs.StaleFiles[path]})
			}
		}
		if obs.RegistriesStale {
			ops = append(ops, Op{Kind: WriteRegistries})
		}
	}
	if len(obs.ImagesMissing) > 0 && !obs.Importing {
		ops = append(ops, Op{Kind: ImportImages})
	}
	if content, stale := obs.StaleFiles[cni]; stale && obs.PlaneUp && len(obs.ImagesMissing) == 0 {
		op := Op{Kind: WriteFile, Target: cni, Content: content}
		if n := obs.API.Node; n != nil && n.PodCIDR != obs.KeptRange {
			op.Pods = n.PodCIDR
		}
		ops = append(ops, op)
	}
	if n := obs.API.Node; obs.API.Ready && n != nil && !n.ControlPlane {
		ops = append(ops, Op{Kind: LabelNode})
	}
	manifests, revision := DNSManifests(spec, obs.Upstreams)
	if obs.API.Ready && obs.API.Node != nil && (obs.API.DNSRevision != revision || resync(obs, obs.DNSApplied)) {
		ops = append(ops, Op{Kind: ApplyDNS, Manifests: append(kubeletManifests(spec), manifests...)})
	}
	return append(ops, volumeOps(spec, obs)...)
}

// volumeOps applies the objects of volumes, under the same conditions as cluster DNS.
func volumeOps(spec Spec, obs Observed) []Op {
	want := obs.VolumeObjects.Revision
	if !spec.Volumes || !obs.API.Ready || obs.API.Node == nil || obs.API.VolumesRevision == want && !resync(obs, obs.VolumesApplied) {
		return nil
	}
	return []Op{{Kind: ApplyVolumes, Manifests: obs.VolumeObjects.Manifests}}
}

// resync reports whether objects that are as they should be, for all that their revision tells, are to be applied once more.
func resync(obs Observed, applied time.Time) bool {
	return nodeReady(obs) && obs.Now.Sub(applied) > objectResync
}

// startable returns the containers that can work now.
func (r *Reconciler) startable(spec Spec, obs Observed) []container.Spec {
	var list []container.Spec
	for _, c := range r.all(spec) {
		beside := c.Name == apiServer || c.Name == plane && r.layout.Processors > 1
		if _, exists := obs.Containers[c.Name]; exists || obs.API.Ready || beside {
			list = append(list, c)
		}
	}
	return list
}

// all returns every container of the domain, in start order.
func (r *Reconciler) all(spec Spec) []container.Spec {
	return append(controlPlane(spec, r.layout), workloadPlane(spec, r.layout))
}

// needsRun reports whether Ensure has something to do now.
func needsRun(c container.Spec, obs Observed) bool {
	if slices.Contains(obs.Held, c.Name) {
		return false
	}
	info, exists := obs.Containers[c.Name]
	return !exists || info.Hash != c.Hash() || info.NeedsStart(obs.Now)
}
