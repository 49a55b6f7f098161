package snapshots

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Spec is the whole desired state.
type Spec struct {
	// Policies have different names, and different prefixes where they have datasets in common.
	Policies []Policy
	// ReadOnly are pools that are declared to be read only: no snapshot is made or pruned there.
	ReadOnly []string
}

// Policy says when snapshots of some datasets are made, and which of them are kept.
type Policy struct {
	Name    string
	Targets []Target
	// When they are made; zero is never, and then only those are pruned that are there, such as those that were replicated.
	When Schedule
	// Prefix is what the names of its snapshots begin with, and by which they are known.
	Prefix string
	Keep   Retention
}

// Target is what snapshots are made of, at once.
type Target struct {
	// Dataset is a file system or volume.
	Dataset string
	// Recursive takes all below it, but for those in Exclude and below them.
	Recursive bool
	Exclude   []string
}

// covers says that snapshots of a dataset are made.
func (t Target) covers(dataset string) bool {
	if dataset == t.Dataset {
		return true
	}
	if !t.Recursive || !isBelow(dataset, t.Dataset) {
		return false
	}
	return !slices.ContainsFunc(t.Exclude, func(e string) bool { return dataset == e || isBelow(dataset, e) })
}

// covers says that one of the targets does.
func (p Policy) covers(dataset string) bool {
	return slices.ContainsFunc(p.Targets, func(t Target) bool { return t.covers(dataset) })
}

func isBelow(dataset, parent string) bool {
	rest, ok := strings.CutPrefix(dataset, parent)
	return ok && strings.HasPrefix(rest, "/")
}

func poolOf(name string) string {
	if i := strings.IndexAny(name, "/@#"); i >= 0 {
		return name[:i]
	}
	return name
}

// Retention says which snapshots of a policy stay. One stays if any rule keeps it. Without counts and a least age all do.
type Retention struct {
	// Last is how many of the newest stay.
	Last int
	// Of so many of the latest hours, days, weeks (ISO 8601), months and years that have snapshots the last one each stays; all in UTC.
	Hourly, Daily, Weekly, Monthly, Yearly int
	// Matching, if set, are names that are never pruned, for those that a person gave a name of the policy's form.
	Matching *regexp.Regexp
	// MinAge is how old a snapshot is at least before it goes.
	MinAge time.Duration
}

// keepsAll says that no rule lets any snapshot go.
func (r Retention) keepsAll() bool {
	return r.Last == 0 && r.Hourly == 0 && r.Daily == 0 && r.Weekly == 0 && r.Monthly == 0 && r.Yearly == 0 && r.MinAge == 0
}

// Check says what is wrong with a policy.
func (p Policy) Check() error {
	k := p.Keep
	if min(k.Last, k.Hourly, k.Daily, k.Weekly, k.Monthly, k.Yearly) < 0 || k.MinAge < 0 {
		return fmt.Errorf("policy %s: a count or age below zero", p.Name)
	}
	if !prefixForm.MatchString(p.Prefix) {
		return fmt.Errorf("policy %s: prefix %q, expected 1 to %d letters, digits, dashes, dots, colons and underscores", p.Name, p.Prefix, maxPrefix)
	}
	if len(p.Targets) == 0 {
		return fmt.Errorf("policy %s: %w", p.Name, errNoTarget)
	}
	if p.When.IsZero() {
		return nil
	}
	if err := p.When.Check(); err != nil {
		return fmt.Errorf("policy %s: %w", p.Name, err)
	}
	return nil
}

var errNoTarget = errors.New("it has no dataset")
