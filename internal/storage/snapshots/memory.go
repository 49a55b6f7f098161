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
	// failing is since when no snapshot can be made of a target, by the clock of then.
	failing map[Key]time.Time
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
	return &Reconciler{system: system, clock: clock, bases: bases, seen: map[Key]sighting{}, refused: map[string]refusal{}, failing: map[Key]time.Time{}}
}

// remember notes since when the newest snapshots are known, and what fails, and forgets refusals whose time is over.
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
		if obs.Clock.Uptime < f.until {
			obs.Refused[what] = f.why
		}
	}
	again := r.fail(spec, obs)
	for what, f := range r.refused {
		if obs.Clock.Uptime >= f.until && !again[what] {
			delete(r.refused, what)
		}
	}
}

// fail notes the targets of which no snapshot can be made. One that was refused, and is due again, fails until that has gone well: again are those.
func (r *Reconciler) fail(spec Spec, obs Observed) (again map[string]bool) {
	again = map[string]bool{}
	failing := map[Key]time.Time{}
	for _, p := range spec.Policies {
		for _, t := range p.Targets {
			key, what := Key{p.Name, t.Dataset}, refusedMake(p.Name, t.Dataset)
			f, failed := Failure{}, obs.Missing[t.Dataset] != ""
			if refused, ok := r.refused[what]; ok {
				if left := refused.until - obs.Clock.Uptime; left > 0 {
					f.Again = obs.Clock.Now.Add(left)
				} else if _, again[what] = makeOp(p, t, obs); !again[what] {
					ok = false
				}
				if ok {
					f.Refused, failed = refused.why, true
				}
			}
			if !failed {
				continue
			}
			if f.Since = r.failing[key]; f.Since.IsZero() {
				f.Since = obs.Clock.Now
			}
			failing[key], obs.Failing[key] = f.Since, f
		}
	}
	r.failing = failing
	return again
}
