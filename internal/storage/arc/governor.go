package arc

import "time"

// Pressure is how much of the time processes have waited for memory, in percent: Some of them, or all of them at once (Documentation/accounting/psi.rst of Linux,
// /proc/pressure/memory), in the last 10 seconds.
type Pressure struct{ Some, Full float64 }

// Numbers of the rule.
const (
	// highSome and highFull are pressure under which the limit is lowered, lowSome that under which it may be raised.
	highSome, highFull = 10.0, 2.0
	lowSome            = 1.0
	// shrinkEvery is the time of the average that is looked at: before it is over, the effect of a step cannot be seen.
	shrinkEvery = 10 * time.Second
	// calmFor is how long there has to be no pressure before the limit is raised, growEvery the time between steps then.
	calmFor   = 5 * time.Minute
	growEvery = time.Minute
)

// Governor lowers the limit under pressure and raises it afterwards.
//
//	limit by the rule ──pressure──▶ three quarters of what is used, every 10 s, down to the floor
//	        ▲                                     │
//	        └── an eighth of the rule a minute ◀──┘ no pressure for 5 minutes
//
// It is a machine of its own: pressure, use and time go in, the limit comes out. It is not safe for concurrent use.
type Governor struct {
	limit uint64
	// changed is when it was changed last, calm since when there is no pressure; zero while there is.
	changed, calm time.Time
}

// Limit takes what was measured, and returns the limit that is to be. Rule is Max, which may change as pools do; used is the ARC's size.
func (g *Governor) Limit(now time.Time, p Pressure, rule, used uint64) Limits {
	if g.limit == 0 || g.limit > rule {
		g.limit, g.changed = rule, now
	}
	switch {
	case p.Some >= highSome || p.Full >= highFull:
		g.calm = time.Time{}
		g.shrink(now, used)
	case p.Some >= lowSome:
		g.calm = time.Time{}
	case g.calm.IsZero() || now.Before(g.calm): // the clock was set back
		g.calm = now
	case now.Sub(g.calm) >= calmFor && now.Sub(g.changed) >= growEvery && g.limit < rule:
		g.limit, g.changed = min(rule, g.limit+rule/8), now
	}
	return LimitsFor(g.limit)
}

// shrink makes a step down. A limit above what is used frees nothing, so a step begins at that.
func (g *Governor) shrink(now time.Time, used uint64) {
	if since := now.Sub(g.changed); since >= 0 && since < shrinkEvery && !g.changed.IsZero() {
		return
	}
	g.limit, g.changed = max(FloorBytes, min(g.limit, max(used, FloorBytes))/4*3), now
}
