package dataset

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Mounts is the side of mounted file systems. Targets are those of [Dataset].Target. The methods are called from one goroutine.
type Mounts interface {
	// Mounted returns what is mounted on each target that has something: the name of a dataset, or an empty one of what is none of ZFS.
	Mounted(ctx context.Context) (map[string]string, error)
	// Seal makes a directory if it is not there, and has nobody write in it while nothing is mounted on it. One that others have written in is left as it is, which is an
	// error: what is in it could not be seen any more. Doing it again is no error.
	Seal(ctx context.Context, target string) error
	// Mount mounts a file system on a directory, which it seals.
	Mount(ctx context.Context, dataset, target string, options []string) error
	// Unmount ends what is mounted on a target, which is [zfs.ErrBusy] while somebody uses it. Nothing there is no error.
	Unmount(ctx context.Context, target string) error
}

// NewMounting is New for a domain that mounts file systems, too.
func NewMounting(system zfs.System, mounts Mounts, uptime func() time.Duration) *Reconciler {
	r := New(system, uptime)
	r.mounts = mounts
	return r
}

// mountable says that a declared dataset is one that could be mounted now. What replication receives is not.
func mountable(d Dataset, obs Observed) bool {
	s, found := obs.Datasets[d.Name]
	return found && d.Kind == zfs.Filesystem && s.Kind == zfs.Filesystem && !s.Received && obs.Unmounted[d.Name] == ""
}

// mountOps first unmount what is declared to be elsewhere, deepest first, and then mount what lies above before what lies in it. One that is declared no longer stays
// where it is.
func mountOps(spec Spec, obs Observed) []Op {
	if obs.Mounts == nil {
		return nil
	}
	var off, on []Op
	up := maps.Clone(obs.Mounts)
	for _, d := range spec.byTarget() {
		if !mountable(d, obs) {
			continue
		}
		for target, name := range obs.Mounts {
			if name == d.Name && target != d.Target {
				off = append(off, Op{Verb: Unmount, Dataset: d.Name, Target: target})
			}
		}
		if _, taken := obs.Mounts[d.Target]; d.Target != "" && !taken && above(d, spec, up) == nil {
			on = append(on, Op{Verb: Mount, Dataset: d.Name, Target: d.Target, Options: d.Options})
			up[d.Target] = d.Name
		}
	}
	slices.SortFunc(off, func(a, b Op) int { return cmp.Compare(b.Target, a.Target) })
	return slices.Concat(off, sealOps(spec, obs), on)
}

// sealOps make the mount points of what cannot be mounted now, such as datasets of a pool that is not here: else pods would write beneath them, where nobody finds it
// once they are mounted. What lies in another that is not mounted has its mount point there.
func sealOps(spec Spec, obs Observed) []Op {
	if !spec.Seal {
		return nil
	}
	var out []Op
	for _, d := range spec.byTarget() {
		_, taken := obs.Mounts[d.Target]
		if d.Kind != zfs.Filesystem || d.Target == "" || taken || obs.Sealed[d.Target] || obs.Unmounted[d.Name] != "" {
			continue
		}
		if !mountable(d, obs) && above(d, spec, obs.Mounts) == nil {
			out = append(out, Op{Verb: Seal, Dataset: d.Name, Target: d.Target})
		}
	}
	return out
}

// byTarget returns the datasets with those above before those that are mounted in them.
func (s Spec) byTarget() []Dataset {
	return slices.SortedFunc(slices.Values(s.Datasets), func(a, b Dataset) int { return cmp.Compare(a.Target, b.Target) })
}

// above is a declared file system that a dataset is to be mounted in, and that is not mounted itself: it would be mounted over the other later.
func above(d Dataset, spec Spec, up map[string]string) *Dataset {
	for _, e := range spec.Datasets {
		if e.Target != "" && isBelow(d.Target, e.Target) && up[e.Target] != e.Name {
			return &e
		}
	}
	return nil
}

// mountCondition says why a dataset is not mounted where it should be, for a reason that does not pass by itself; nil if there is none.
func mountCondition(d Dataset, spec Spec, obs Observed) *Condition {
	if why := obs.Unmounted[d.Name]; why != "" {
		return &Condition{d.Name, Refused, why}
	}
	on, taken := obs.Mounts[d.Target]
	if obs.Mounts == nil || d.Target == "" || on == d.Name || !mountable(d, obs) {
		return nil
	}
	if taken {
		if on == "" {
			on = "something that is no dataset"
		}
		return &Condition{d.Name, TargetTaken, fmt.Sprintf("%s is mounted on %s; declare another mountpoint for one of them", on, d.Target)}
	}
	e := above(d, spec, obs.Mounts)
	if e == nil {
		return nil
	}
	if _, taken := obs.Mounts[e.Target]; taken || !mountable(*e, obs) {
		return &Condition{d.Name, AboveUnmounted, fmt.Sprintf("%s has to be mounted on %s before it, and cannot be now", e.Name, e.Target)}
	}
	return nil
}

// mountText prints an operation on mounts.
func mountText(o Op) string {
	if o.Verb == Seal {
		return fmt.Sprintf("make mount point %s of %s", o.Target, o.Dataset)
	}
	if o.Verb == Unmount {
		return fmt.Sprintf("unmount %s from %s", o.Dataset, o.Target)
	}
	return strings.TrimSpace(fmt.Sprintf("mount %s on %s %s", o.Dataset, o.Target, strings.Join(o.Options, ",")))
}
