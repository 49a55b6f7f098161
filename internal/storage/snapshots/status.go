package snapshots

import (
	"fmt"
	"time"
)

// Status is how the policies fare.
type Status struct {
	// Ready says that nothing is to be done now, and nothing is in the way. Reason says what is.
	Ready  bool
	Reason string
	// Next is how long until the next snapshot is due; zero if none ever is, or one is now. One that was refused, and is tried again later, does not count.
	Next     time.Duration
	Policies []PolicyStatus
}

// PolicyStatus is one policy.
type PolicyStatus struct {
	Name string
	// Snapshots is how many there are that it made, of all datasets.
	Snapshots int
	// Newest is the time of the newest, zero if there is none.
	Newest time.Time
	// Problems are what is in the way: targets that are not there, snapshots that could not be made.
	Problems []string
	// Since is when the first of the targets began to fail that have problems; zero if none has. Again is when the next of the snapshots that could not be made is
	// tried again; zero if there is none, or that is now.
	Since, Again time.Time
	// Paused are targets of which no snapshot is made now, as replication has them or their pools are only read, and why; nothing is wrong with that.
	Paused []string
	// Stuck are snapshots that should go and cannot; nothing is wrong with that.
	Stuck []Verdict
}

// Status judges what was observed.
func (r *Reconciler) Status(spec Spec, obs Observed) Status {
	out := Status{Ready: len(Diff(spec, obs)) == 0}
	if !out.Ready {
		out.Reason = "snapshots are due or to be pruned"
	}
	first, blocked := true, false
	for _, p := range spec.Policies {
		s := p.status(obs)
		out.Policies = append(out.Policies, s)
		if len(s.Problems) > 0 && !blocked {
			blocked, out.Ready, out.Reason = true, false, s.Problems[0]
		}
		for _, t := range p.Targets {
			if _, found := obs.Datasets[t.Dataset]; !found || p.When.IsZero() || obs.Refused[refusedMake(p.Name, t.Dataset)] != "" || obs.paused(t.Dataset) {
				continue
			}
			wait := p.When.wait(obs.Clock.Now, obs.newest(p, t.Dataset), obs.seenFor(p, t))
			if first || wait < out.Next {
				first, out.Next = false, wait
			}
		}
	}
	return out
}

// sooner is the earlier of two times, of which a zero one counts for nothing.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func (p Policy) status(obs Observed) PolicyStatus {
	s := PolicyStatus{Name: p.Name}
	for _, t := range p.Targets {
		if why := obs.Missing[t.Dataset]; why != "" {
			s.Problems = append(s.Problems, fmt.Sprintf("schedule %s: %s: %s", p.Name, t.Dataset, why))
		}
		f := obs.Failing[Key{p.Name, t.Dataset}]
		if f.Refused != "" {
			s.Problems = append(s.Problems, fmt.Sprintf("schedule %s: make a snapshot of %s: %s", p.Name, t.Dataset, f.Refused))
		}
		s.Since, s.Again = sooner(s.Since, f.Since), sooner(s.Again, f.Again)
		if pause := obs.Paused[t.Dataset]; pause.Why != "" && (!p.When.IsZero() || pause.Keeps) {
			s.Paused = append(s.Paused, fmt.Sprintf("schedule %s pauses for %s: %s", p.Name, t.Dataset, pause.Why))
		}
	}
	for _, dataset := range obs.names() {
		if !p.covers(dataset) {
			continue
		}
		for _, one := range obs.Datasets[dataset] {
			if isOf(p.Prefix, one.Name) {
				s.Snapshots++
			}
		}
		if newest := obs.newest(p, dataset); newest != nil && newest.Created.After(s.Newest) {
			s.Newest = newest.Created
		}
		for _, v := range p.Judge(dataset, obs) {
			if v.Fate == Stuck {
				s.Stuck = append(s.Stuck, v)
			}
		}
	}
	return s
}
