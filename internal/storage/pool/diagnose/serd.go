package diagnose

import "time"

// counter fires when n events come within a time: the last n of them lie no further apart (fmd_serd_eng_record in cmd/zed/agents/fmd_serd.c). It fires once.
type counter struct {
	n      int
	within time.Duration
	times  []time.Time
	fired  bool
}

// maxEvents bounds what a counter keeps, whatever a device's properties say.
const maxEvents = 1000

func newCounter(n uint64, within time.Duration) *counter {
	return &counter{n: int(min(max(n, 1), maxEvents)), within: within}
}

// record counts an event, and tells whether the counter has fired by it.
func (c *counter) record(at time.Time) bool {
	if c.fired {
		return false
	}
	c.times = append(c.times, at)
	if len(c.times) > c.n {
		c.times = c.times[1:]
	}
	// A clock that was set back makes a negative distance, which is none.
	c.fired = len(c.times) == c.n && at.Sub(c.times[0]) <= c.within
	return c.fired
}

// active says that there are errors that count (fmd_serd_active).
func (c *counter) active() bool { return c != nil && (c.fired || len(c.times) > 0) }

// old says that its newest error is further back than those that fire it together.
func (c *counter) old(at time.Time) bool { return at.Sub(c.times[len(c.times)-1]) > c.within }

// again has a counter that has fired count on, from its newest event.
func (c *counter) again() { c.times, c.fired = c.times[len(c.times)-1:], false }

// reset forgets all.
func (c *counter) reset() {
	if c != nil {
		c.times, c.fired = nil, false
	}
}

// forget drops events that are too old to count (fmd_serd_eng_gc).
func (c *counter) forget(now time.Time) {
	if c == nil || c.fired {
		return
	}
	for len(c.times) > 0 && now.Sub(c.times[0]) > c.within {
		c.times = c.times[1:]
	}
}
