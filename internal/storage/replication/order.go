package replication

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// order puts the steps of all file systems into one row: always the one whose snapshot is the oldest, so that the replicas of what was snapshotted
// together are soon of one time again; but nothing before what it is received below.
func (p *planner) order(rows map[string][]Step) {
	names := slices.Sorted(maps.Keys(rows))
	there := map[string]bool{}
	for _, r := range p.receiver.FileSystems {
		there[r.Name] = true
	}
	onePool := p.onePool()
	for {
		best := ""
		for _, name := range names {
			row := rows[name]
			if len(row) == 0 || !p.placed(row[0], there) {
				continue
			}
			if best == "" || earlier(row[0], rows[best][0], onePool) {
				best = name
			}
		}
		if best == "" {
			break
		}
		there[rows[best][0].Target] = true
		p.Steps = append(p.Steps, rows[best][0])
		rows[best] = rows[best][1:]
	}
	for _, name := range names {
		if len(rows[name]) > 0 {
			target := rows[name][0].Target
			p.Blocked = append(p.Blocked, Blocked{
				Source: name, Target: target, By: parentOf(target), Reason: "it is received below " + parentOf(target) + ", which is not there",
			})
		}
	}
}

// placed says whether what a step is received below will be there. What the root of the targets lies in is not the job's.
func (p *planner) placed(s Step, there map[string]bool) bool {
	return there[s.Target] || slices.Contains(p.job.Targets(), s.Target) || there[parentOf(s.Target)]
}

// onePool says whether all sources are in one pool, whose transaction groups are then a better order than clocks.
func (p *planner) onePool() bool {
	pools := map[string]bool{}
	for _, name := range p.job.Sources() {
		pool, _, _ := strings.Cut(name, "/")
		pools[pool] = true
	}
	return len(pools) == 1
}

// earlier orders steps. Placeholders, and what only finishes, come first.
func earlier(a, b Step, onePool bool) bool {
	sends := func(s Step) bool { return s.Kind == StepInitial || s.Kind == StepIncremental }
	switch {
	case sends(a) != sends(b):
		return !sends(a)
	case onePool && a.To.CreateTXG != b.To.CreateTXG:
		return a.To.CreateTXG < b.To.CreateTXG
	case !onePool && !a.To.Created.Equal(b.To.Created):
		return a.To.Created.Before(b.To.Created)
	}
	return cmp.Compare(a.Source, b.Source) < 0
}
