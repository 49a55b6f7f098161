package snapshots

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Verb is the kind of an operation.
type Verb string

// The operations.
const (
	Make  Verb = "make"
	Prune Verb = "destroy"
)

// maxBatch is how many snapshots one Prune destroys: one transaction of ZFS, which it does as a whole or not at all.
const maxBatch = 256

// Op is one operation, on one pool.
type Op struct {
	Verb   Verb
	Policy string
	// Target is that of Make.
	Target string
	// Snapshots are whole names: of Make those of one target, with the same name behind the @.
	Snapshots []string
}

// maxShown is how many names String prints.
const maxShown = 4

// String prints the operation for logs and tests.
func (o Op) String() string {
	names := o.Snapshots
	more := ""
	if len(names) > maxShown {
		names, more = names[:maxShown], fmt.Sprintf(" and %d more", len(o.Snapshots)-maxShown)
	}
	return fmt.Sprintf("%s %s%s (schedule %s)", o.Verb, strings.Join(names, " "), more, o.Policy)
}

// names are those of all datasets, in order.
func (o Observed) names() []string { return slices.Sorted(maps.Keys(o.Datasets)) }

// Diff returns what is to be done now. Snapshots are destroyed before others are made, since a pool that is full has no room for any more.
func (r *Reconciler) Diff(spec Spec, obs Observed) []Op { return Diff(spec, obs) }

// Diff is the pure function of [Reconciler.Diff].
func Diff(spec Spec, obs Observed) []Op {
	var ops []Op
	for _, p := range spec.Policies {
		ops = append(ops, pruneOps(p, obs)...)
	}
	for _, p := range spec.Policies {
		for _, t := range p.Targets {
			if op, ok := makeOp(p, t, obs); ok {
				ops = append(ops, op)
			}
		}
	}
	return ops
}

// pruneOps gathers what goes by pools, in batches.
func pruneOps(p Policy, obs Observed) []Op {
	var ops []Op
	for _, dataset := range obs.names() {
		if !p.covers(dataset) {
			continue
		}
		for _, v := range p.Judge(dataset, obs) {
			if v.Fate != Goes {
				continue
			}
			if n := len(ops); n == 0 || len(ops[n-1].Snapshots) == maxBatch || poolOf(ops[n-1].Snapshots[0]) != poolOf(dataset) {
				ops = append(ops, Op{Verb: Prune, Policy: p.Name})
			}
			last := &ops[len(ops)-1]
			last.Snapshots = append(last.Snapshots, v.Snapshot)
		}
	}
	return ops
}

// makeOp makes one name on all datasets of a target but those that are paused, if it is due.
func makeOp(p Policy, t Target, obs Observed) (Op, bool) {
	if _, found := obs.Datasets[t.Dataset]; !found || obs.Refused[refusedMake(p.Name, t.Dataset)] != "" || obs.paused(t.Dataset) {
		return Op{}, false
	}
	if !p.When.due(obs.Clock.Now, obs.newest(p, t.Dataset), obs.seenFor(p, t)) {
		return Op{}, false
	}
	var of []string
	for _, dataset := range obs.names() {
		if t.covers(dataset) && !obs.paused(dataset) {
			of = append(of, dataset)
		}
	}
	name := Name(p.Prefix, obs.Clock.Now, func(name string) bool {
		return slices.ContainsFunc(of, func(dataset string) bool { return obs.taken(dataset, name) })
	})
	op := Op{Verb: Make, Policy: p.Name, Target: t.Dataset}
	for _, dataset := range of {
		op.Snapshots = append(op.Snapshots, dataset+"@"+name)
	}
	return op, true
}

// seenFor is how long the newest snapshot of a target is known.
func (o Observed) seenFor(p Policy, t Target) time.Duration {
	since, ok := o.Since[Key{p.Name, t.Dataset}]
	if !ok {
		return 0
	}
	return o.Clock.Uptime - since
}

// refusedMake is the key of Observed.Refused for one to be made.
func refusedMake(policy, target string) string { return string(Make) + " " + policy + " " + target }
