package snapshots

import (
	"context"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Pause is why policies leave a dataset alone. Replication has it, and no snapshot is made of it, since one that only this machine has would be in the way of what is
// received; or its pool is only read.
type Pause struct {
	// Why is for a person.
	Why string
	// Keeps says that nothing is pruned either.
	Keeps bool
}

// What replication marks its datasets with: package replication has the terms.
const (
	replicaProperty     = "dev.cyvive:replica"
	placeholderProperty = "dev.cyvive:placeholder"
	fencedProperty      = "dev.cyvive:fenced"
	generationProperty  = "dev.cyvive:generation"
)

// PauseProperties are what [PauseOf] reads.
func PauseProperties() []string {
	return []string{replicaProperty, placeholderProperty, fencedProperty, generationProperty, "readonly"}
}

// PauseOf reads the marks of a dataset. But for a placeholder's they hold for all below the one that has them, which is how OpenZFS inherits user properties.
func PauseOf(d zfs.Dataset) (Pause, bool) {
	marked := func(name string) bool {
		p := d.Properties[name]
		return p.Value != "" && (p.Source == zfs.SourceLocal || p.Source == zfs.SourceInherited)
	}
	switch {
	case marked(replicaProperty):
		return Pause{Why: "it is a replica: snapshots are made of what it is a replica of"}, true
	case d.Properties[placeholderProperty].Source == zfs.SourceLocal:
		return Pause{Why: "it is there for what is received below it"}, true
	case marked(fencedProperty):
		return Pause{Why: "it was promoted on another node, and is fenced here: what both have stays until it is a replica", Keeps: true}, true
	case marked(generationProperty) && d.Properties["readonly"].Value == "on":
		// Frozen, before another node takes the role over; or made read-only by a person, and then there is nothing new in it.
		return Pause{Why: "it is read-only, in a tree whose role changes between nodes"}, true
	}
	return Pause{}, false
}

// pauses notes what is paused below a root. It comes before the snapshots are looked at: where it cannot be told, nothing is done.
func (r *Reconciler) pauses(ctx context.Context, root Target, obs Observed) error {
	q := zfs.Query{
		Roots: []string{root.Dataset}, Kinds: []zfs.Kind{zfs.Filesystem, zfs.Volume}, Properties: PauseProperties(),
	}
	if root.Recursive {
		q.Depth = -1
	}
	found, err := r.system.List(ctx, q)
	if err != nil {
		return err
	}
	for _, d := range found {
		if p, paused := PauseOf(d); paused {
			obs.Paused[d.Name] = p
		}
	}
	return nil
}
