package snapshots

import (
	"context"
	"time"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Reconciler is the domain. It implements the Domain of package reconcile, and is used by one goroutine.
type Reconciler struct {
	system zfs.System
	clock  func() Clock
	bases  func(context.Context) (Bases, Unknown, error)
	// seen is the newest snapshot of each target, and since when it is known.
	seen map[Key]sighting
	// refused is what could not be done, and when it may be tried again.
	refused map[string]refusal
}

type sighting struct {
	snapshot zfs.GUID
	since    time.Duration
}

type refusal struct {
	why   string
	until time.Duration
}

// New returns the domain on a system. Bases tells which snapshots replication needs, and of which pools that is not known; an error is of all.
func New(system zfs.System, clock func() Clock, bases func(context.Context) (Bases, Unknown, error)) *Reconciler {
	return &Reconciler{system: system, clock: clock, bases: bases, seen: map[Key]sighting{}, refused: map[string]refusal{}}
}

// remember notes since when the newest snapshots are known, and forgets refusals whose time is over.
func (r *Reconciler) remember(spec Spec, obs Observed) {
	fresh := map[Key]sighting{}
	for _, p := range spec.Policies {
		for _, t := range p.Targets {
			newest := obs.newest(p, t.Dataset)
			if newest == nil {
				continue
			}
			key := Key{p.Name, t.Dataset}
			s := r.seen[key]
			if s.snapshot != newest.GUID {
				s = sighting{newest.GUID, obs.Clock.Uptime}
			}
			fresh[key], obs.Since[key] = s, s.since
		}
	}
	r.seen = fresh
	for what, f := range r.refused {
		if obs.Clock.Uptime >= f.until {
			delete(r.refused, what)
			continue
		}
		obs.Refused[what] = f.why
	}
}
