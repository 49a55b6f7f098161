package snapshots

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Fate is what becomes of a snapshot.
type Fate string

// The fates.
const (
	// Stays: something keeps it.
	Stays Fate = "stays"
	// Goes: no rule keeps it.
	Goes Fate = "goes"
	// Stuck: no rule keeps it, and it cannot be destroyed now.
	Stuck Fate = "should go"
)

// Verdict is the fate of a snapshot, and all reasons.
type Verdict struct {
	// Snapshot is its whole name.
	Snapshot string
	Fate     Fate
	Reasons  []string
}

// String is the verdict for a preview.
func (v Verdict) String() string {
	if len(v.Reasons) == 0 {
		return fmt.Sprintf("%s %s", v.Snapshot, v.Fate)
	}
	if v.Fate == Stuck {
		return fmt.Sprintf("%s %s, but %s", v.Snapshot, v.Fate, strings.Join(v.Reasons, "; "))
	}
	return fmt.Sprintf("%s %s: %s", v.Snapshot, v.Fate, strings.Join(v.Reasons, "; "))
}

// rule keeps the newest snapshot of each of the latest n units.
type rule struct {
	n    int
	name string
	unit func(time.Time) string
}

// rules in the order in which reasons are given. A unit's text is for a person, and differs for any two units.
func (r Retention) rules() []rule {
	week := func(t time.Time) string {
		year, n := t.ISOWeek()
		return fmt.Sprintf("%d-W%02d", year, n)
	}
	format := func(layout string) func(time.Time) string {
		return func(t time.Time) string { return t.Format(layout) }
	}
	return []rule{
		{r.Hourly, "hour", format("2006-01-02 15h")}, {r.Daily, "day", format("2006-01-02")}, {r.Weekly, "week", week},
		{r.Monthly, "month", format("2006-01")}, {r.Yearly, "year", format("2006")},
	}
}

// Judge says what becomes of each snapshot of a dataset that the policy covers, in the order in which they are observed.
func (p Policy) Judge(dataset string, obs Observed) []Verdict {
	list := obs.Datasets[dataset]
	out := make([]Verdict, len(list))
	var own []int // newest first
	for i := len(list) - 1; i >= 0; i-- {
		out[i] = Verdict{Snapshot: dataset + "@" + list[i].Name, Fate: Stays}
		if isOf(p.Prefix, list[i].Name) {
			own = append(own, i)
		} else {
			out[i].Reasons = []string{"schedule " + p.Name + " did not make it"}
		}
	}
	keep := func(i int, format string, args ...any) {
		out[i].Reasons = append(out[i].Reasons, fmt.Sprintf(format, args...))
	}
	for nth, i := range own {
		p.keepOne(dataset, list[i], nth, obs, func(format string, args ...any) { keep(i, format, args...) })
		if pause := obs.Paused[dataset]; pause.Keeps {
			keep(i, "%s", pause.Why)
		}
	}
	for _, r := range p.Keep.rules() {
		units := map[string]bool{}
		for _, i := range own {
			if len(units) == r.n {
				break
			}
			if unit := r.unit(list[i].Created.UTC()); !units[unit] {
				units[unit] = true
				keep(i, "the last of the %s %s", r.name, unit)
			}
		}
	}
	for _, i := range own {
		if len(out[i].Reasons) > 0 {
			continue
		}
		out[i].Fate = Goes
		if why := stuck(list[i], obs.Refused[out[i].Snapshot]); why != "" {
			out[i].Fate, out[i].Reasons = Stuck, []string{why}
		}
	}
	return out
}

// keepOne gives the reasons that do not depend on the others, for the nth newest of the policy's.
func (p Policy) keepOne(dataset string, s Snapshot, nth int, obs Observed, keep func(format string, args ...any)) {
	k := p.Keep
	if k.keepsAll() {
		keep("no rule lets any go")
	}
	if nth == 0 {
		keep("the newest, by which the schedule goes")
	}
	if who := obs.Bases[s.GUID]; who != "" {
		keep("%s begins its next step with it", who)
	}
	if why := obs.Unknown.why(dataset); why != "" {
		keep("what replication needs is not known: %s", why)
	}
	if k.Matching != nil && k.Matching.MatchString(s.Name) {
		keep("its name matches %q", k.Matching)
	}
	if nth < k.Last {
		keep("one of the last %d", k.Last)
	}
	age := obs.Clock.Now.Sub(s.Created)
	switch {
	case k.MinAge == 0:
	case obs.Clock.Doubt != "":
		keep("its age is not known: %s", obs.Clock.Doubt)
	case age >= k.MinAge:
	case age < 0:
		keep("its time is yet to come by the clock, so that its age is not known")
	default:
		keep("younger than %s", k.MinAge)
	}
}

// stuck says why a snapshot cannot be destroyed; refused is what the last attempt came to.
func stuck(s Snapshot, refused string) string {
	switch {
	case len(s.Tags) > 0:
		return "is held by " + strings.Join(s.Tags, ", ")
	case s.Holds > 0:
		return fmt.Sprintf("is held by %d references", s.Holds)
	case len(s.Clones) > 0:
		return "has the clones " + strings.Join(s.Clones, ", ")
	}
	return refused
}

// Preview says what becomes of every snapshot of the datasets that policies cover, by dataset and age. One that no policy made stays.
func Preview(spec Spec, obs Observed) []Verdict {
	var out []Verdict
	for _, dataset := range obs.names() {
		var best []Verdict
		for _, p := range spec.Policies {
			if !p.covers(dataset) {
				continue
			}
			all := p.Judge(dataset, obs)
			if best == nil {
				best = slices.Clone(all)
				continue
			}
			for i, s := range obs.Datasets[dataset] {
				switch {
				case isOf(p.Prefix, s.Name):
					best[i] = all[i]
				case !slices.ContainsFunc(spec.Policies, func(o Policy) bool { return o.covers(dataset) && isOf(o.Prefix, s.Name) }):
					best[i].Reasons = []string{"no schedule made it"}
				}
			}
		}
		out = append(out, best...)
	}
	return out
}
