package dataset

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// State is one dataset as found.
type State struct {
	Kind zfs.Kind
	GUID zfs.GUID
	// Properties are those that are declared for any dataset, those that are managed, and a few for Status.
	Properties map[string]zfs.Property
	// Managed are the properties that the node has set. Marked says that the dataset has the mark, be it of none.
	Managed []string
	Marked  bool
	// Received says that others of the node have it, and no document: it is a replica, or there for one, or the CSI driver's.
	Received bool
	// Kept says why replication decides about some properties of it, see [State.keeps]; empty where documents do.
	Kept string
}

// keeps says that a property is not a document's now. A replica that could be written to, or a primary that another has taken the place of, would go a way of its own.
func (s State) keeps(name string) bool {
	return s.Kept != "" && (name == "readonly" || name == "canmount" || name == "mountpoint")
}

// keepsBelow says that nothing is made below: it would be in the way of what is received. A placeholder is not in the way of others beside what it is for.
func (s State) keepsBelow() bool {
	return s.Kept != "" && s.Properties[placeholderProperty].Source != zfs.SourceLocal
}

// keptBy is the reason for State.Kept. That a tree is fenced is said by its root, for all below it.
func keptBy(properties map[string]zfs.Property) string {
	fenced := properties[fencedProperty]
	switch {
	case properties[replicaProperty].Source == zfs.SourceLocal:
		return "it is a replica"
	case properties[placeholderProperty].Source == zfs.SourceLocal:
		return "it is there for what is received below it"
	case fenced.Value != "" && (fenced.Source == zfs.SourceLocal || fenced.Source == zfs.SourceInherited):
		return "it was promoted on another node, and is fenced here"
	}
	return ""
}

// bytes is a property as a number.
func (s State) bytes(name string) uint64 {
	n, _ := strconv.ParseUint(s.Properties[name].Value, 10, 64)
	return n
}

// Observed is what was found.
type Observed struct {
	Datasets map[string]State
	// Missing are roots that are not there, or cannot be looked at, and why.
	Missing map[string]string
	// Refused is why a dataset could not be changed a while ago, and Unmounted why it could not be mounted, or its mount point not be made. That is left alone for now.
	Refused, Unmounted map[string]string
	// Mounts are the datasets by the targets that they are mounted on; nil in a domain that mounts none.
	Mounts map[string]string
	// Sealed are targets whose mount points the domain has made, and closed to writers.
	Sealed map[string]bool
}

// Reconciler is the domain. It implements the Domain of package reconcile, and is used by one goroutine.
type Reconciler struct {
	system zfs.System
	// mounts is nil in a domain that mounts nothing.
	mounts Mounts
	// uptime is the time since the machine was started.
	uptime func() time.Duration
	// refused are changes by their dataset, unmounted operations on mounts: one whose quota cannot be set is mounted all the same.
	refused, unmounted map[string]refusal
	sealed             map[string]bool
	// missed are the targets of mounts that were refused, or left out, since the last Observe.
	missed []string
}

type refusal struct {
	why   string
	until time.Duration
}

// New returns the domain on a system, with a clock that never jumps.
func New(system zfs.System, uptime func() time.Duration) *Reconciler {
	return &Reconciler{system: system, uptime: uptime, refused: map[string]refusal{}, unmounted: map[string]refusal{}, sealed: map[string]bool{}}
}

// What replication marks its datasets with, on those themselves or, where one is fenced, on the root of its tree: package replication has the terms.
const (
	replicaProperty     = "dev.cyvive:replica"
	placeholderProperty = "dev.cyvive:placeholder"
	fencedProperty      = "dev.cyvive:fenced"
)

// VolumeProperty is what the CSI driver marks its datasets with: volumes of Kubernetes, of which no document tells. Package csi has the term.
const VolumeProperty = "dev.cyvive.csi:volume"

// stats are the properties that are always read.
func stats() []string {
	return []string{ManagedProperty, replicaProperty, placeholderProperty, fencedProperty, VolumeProperty, "used", "available", "referenced", "quota", "refquota", "volsize", "volblocksize"}
}

// Observe lists what is below the roots. A root that is not there is no error.
func (r *Reconciler) Observe(ctx context.Context, spec Spec) (Observed, error) {
	r.missed = nil
	obs := Observed{Datasets: map[string]State{}, Missing: map[string]string{}, Refused: r.still(r.refused), Unmounted: r.still(r.unmounted), Sealed: maps.Clone(r.sealed)}
	names := stats()
	for _, d := range spec.Datasets {
		for name := range d.Properties {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	for _, root := range spec.Roots {
		if spec.Waits != "" {
			obs.Missing[root] = spec.Waits
			continue
		}
		err := r.list(ctx, root, names, obs)
		if ctx.Err() != nil {
			return Observed{}, fmt.Errorf("list %s: %w", root, ctx.Err())
		}
		if err != nil {
			obs.Missing[root] = err.Error()
		}
	}
	if r.mounts != nil {
		var err error
		if obs.Mounts, err = r.mounts.Mounted(ctx); err != nil {
			return Observed{}, fmt.Errorf("look at what is mounted: %w", err)
		}
		if obs.Mounts == nil {
			obs.Mounts = map[string]string{}
		}
	}
	return obs, nil
}

// still forgets the refusals whose time is over, and returns the others.
func (r *Reconciler) still(all map[string]refusal) map[string]string {
	out := map[string]string{}
	for name, f := range all {
		if r.uptime() >= f.until {
			delete(all, name)
			continue
		}
		out[name] = f.why
	}
	return out
}

// list reads the datasets below a root, a second time if a mark names a property that nothing declares any more.
func (r *Reconciler) list(ctx context.Context, root string, names []string, obs Observed) error {
	for range 2 {
		found, err := r.system.List(ctx, zfs.Query{
			Roots: []string{root}, Kinds: []zfs.Kind{zfs.Filesystem, zfs.Volume}, Depth: -1, Properties: names,
		})
		if err != nil {
			return err
		}
		more := slices.Clone(names)
		for _, d := range found {
			s := State{Kind: d.Kind, GUID: d.GUID, Properties: d.Properties, Kept: keptBy(d.Properties)}
			for _, mark := range []string{replicaProperty, placeholderProperty, VolumeProperty} {
				s.Received = s.Received || d.Properties[mark].Source == zfs.SourceLocal
			}
			// An inherited mark is the parent's, and a received one that of another node.
			if mark := d.Properties[ManagedProperty]; mark.Source == zfs.SourceLocal {
				s.Marked = true
				s.Managed = strings.FieldsFunc(mark.Value, func(c rune) bool { return c == ',' })
				more = append(more, s.Managed...)
			}
			obs.Datasets[d.Name] = s
		}
		slices.Sort(more)
		if more = slices.Compact(more); len(more) == len(names) {
			break
		}
		names = more
	}
	return nil
}
