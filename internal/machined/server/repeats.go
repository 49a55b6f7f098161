package server

import (
	"maps"
	"net"
	"slices"
	"time"

	"github.com/cyvive/cyvive/internal/audit"
)

// What nodes ask of each other for replication comes with each step of each dataset, and would push all else out of a log whose size is bounded. So one call of a
// kind in a period is an entry, and those after it that go well are counted in one that ends the period; what fails, or is refused, is always an entry, and so is
// each call that does more than a step.
const (
	repeatPeriod = time.Hour
	// maxRepeats bounds the kinds that are known at once. Beyond it, all are written down and begin anew.
	maxRepeats = 1024
)

// repeat are the calls of a kind since the one that is an entry.
type repeat struct {
	began time.Time
	// last is the newest of those that went well, and count how many there are.
	last  audit.Entry
	count uint64
}

// kindOf is what makes calls the same: the caller, where from, and the method.
func kindOf(e audit.Entry) string {
	host, _, err := net.SplitHostPort(e.Peer)
	if err != nil {
		host = e.Peer
	}
	return e.Method + "\x00" + e.Subject + "\x00" + e.Serial + "\x00" + host
}

// first tells whether a call is the first of its kind in a period, which is an entry. Those of the period before are written down then.
func (r *recorder) first(e audit.Entry) bool {
	now, kind := r.now(), kindOf(e)
	r.mu.Lock()
	known := r.repeats[kind]
	if known != nil && now.Sub(known.began) < repeatPeriod && !now.Before(known.began) {
		r.mu.Unlock()
		return false
	}
	var ended map[string]*repeat
	switch {
	case known == nil && len(r.repeats) >= maxRepeats:
		ended, r.repeats = r.repeats, map[string]*repeat{}
	case known != nil:
		ended = map[string]*repeat{kind: known}
	}
	r.repeats[kind] = &repeat{began: now}
	r.mu.Unlock()
	for _, kind := range slices.Sorted(maps.Keys(ended)) {
		r.writeRepeat(*ended[kind])
	}
	return true
}

// repeated counts a call that went well and is no entry.
func (r *recorder) repeated(e audit.Entry) {
	r.mu.Lock()
	known := r.repeats[kindOf(e)]
	if known != nil {
		known.last = e
		known.count++
	}
	r.mu.Unlock()
	if known == nil { // all have begun anew since the call began
		r.record(e, false)
	}
}

// flushRepeats writes down what was counted so far.
func (r *recorder) flushRepeats() {
	r.mu.Lock()
	var all []repeat
	for _, kind := range slices.Sorted(maps.Keys(r.repeats)) {
		one := r.repeats[kind]
		all = append(all, *one)
		one.count = 0
	}
	r.mu.Unlock()
	for _, one := range all {
		r.writeRepeat(one)
	}
}

// writeRepeat is the entry for calls that are none: it has the number of them, and the time of the last.
func (r *recorder) writeRepeat(one repeat) {
	if one.count == 0 {
		return
	}
	e := one.last
	e.Count, e.Took = one.count, 0
	r.record(e, false)
}
