// Package eventlog remembers what happened on the node, in memory: the newest
// events since the agent was started, of each source its share: one that changes all
// the time, as a check whose reason has a time in it, pushes out its own. What must
// outlive the agent is in the audit log, in the boot ledger and in the logs of services.
package eventlog

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cyvive/cyvive/internal/machined/server"
)

// Keep is how many events are remembered.
const Keep = 1000

// maxTextBytes bounds each text of an event.
const maxTextBytes = 1024

// Log is a ring of events. Its methods are safe for concurrent use.
type Log struct {
	now func() time.Time

	mu      sync.Mutex
	events  []server.Event // oldest first
	counts  map[source]int // how many of them each source has
	next    uint64
	changed chan struct{} // closed with each event
}

var _ server.Events = (*Log)(nil)

// source is what events are about.
type source struct {
	kind    server.EventKind
	subject string
}

func sourceOf(e server.Event) source { return source{e.Kind, e.Subject} }

// New returns an empty log; now is its clock.
func New(now func() time.Time) *Log {
	return &Log{now: now, next: 1, counts: map[source]int{}, changed: make(chan struct{})}
}

// Add remembers an event. Its sequence number and time are the log's to set.
func (l *Log) Add(kind server.EventKind, subject, state, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.events) == Keep {
		l.forget()
	}
	e := server.Event{Sequence: l.next, Time: l.now(), Kind: kind, Subject: cut(subject), State: cut(state), Reason: cut(reason)}
	l.events = append(l.events, e)
	l.counts[sourceOf(e)]++
	l.next++
	close(l.changed)
	l.changed = make(chan struct{})
}

// forget makes room for one event: the source that has most of them loses its oldest.
func (l *Log) forget() {
	at, most := 0, 0
	for i, e := range l.events {
		if n := l.counts[sourceOf(e)]; n > most {
			at, most = i, n
		}
	}
	s := sourceOf(l.events[at])
	l.counts[s]--
	if l.counts[s] == 0 {
		delete(l.counts, s)
	}
	l.events = slices.Delete(l.events, at, at+1)
}

func cut(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxTextBytes)], "\uFFFD") }

// Stream implements server.Events. A receiver that is too slow misses the events
// that are forgotten meanwhile.
func (l *Log) Stream(ctx context.Context, o server.StreamOptions, send func(server.Event) error) error {
	l.mu.Lock()
	from := uint64(1)
	if o.Tail >= 0 {
		from = l.next
		if n := min(o.Tail, len(l.events)); n > 0 {
			from = l.events[len(l.events)-n].Sequence
		}
	}
	end := l.next
	l.mu.Unlock()
	for {
		batch, changed := l.since(from)
		for _, e := range batch {
			if !o.Follow && e.Sequence >= end {
				return nil
			}
			if err := send(e); err != nil {
				return err
			}
			from = e.Sequence + 1
		}
		if len(batch) > 0 {
			continue
		}
		if !o.Follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// batchSize bounds what one reader copies at a time.
const batchSize = 64

// since returns some events from a sequence number on, and what is closed with
// the next event.
func (l *Log) since(from uint64) ([]server.Event, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// What was forgotten left gaps.
	i, _ := slices.BinarySearchFunc(l.events, from, func(e server.Event, sequence uint64) int { return cmp.Compare(e.Sequence, sequence) })
	rest := l.events[i:]
	return append([]server.Event(nil), rest[:min(len(rest), batchSize)]...), l.changed
}
