// Package eventlog remembers what happened on the node, in memory: the newest
// events since the agent was started. What must outlive the agent is in the audit
// log, in the boot ledger and in the logs of services.
package eventlog

import (
	"context"
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
	next    uint64
	changed chan struct{} // closed with each event
}

var _ server.Events = (*Log)(nil)

// New returns an empty log; now is its clock.
func New(now func() time.Time) *Log {
	return &Log{now: now, next: 1, changed: make(chan struct{})}
}

// Add remembers an event. Its sequence number and time are the log's to set.
func (l *Log) Add(kind server.EventKind, subject, state, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.events) == Keep {
		l.events = append(l.events[:0], l.events[1:]...)
	}
	l.events = append(l.events, server.Event{
		Sequence: l.next, Time: l.now(), Kind: kind, Subject: cut(subject), State: cut(state), Reason: cut(reason),
	})
	l.next++
	close(l.changed)
	l.changed = make(chan struct{})
}

func cut(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxTextBytes)], "\uFFFD") }

// Stream implements server.Events. A receiver that is too slow misses the events
// that are forgotten meanwhile.
func (l *Log) Stream(ctx context.Context, o server.StreamOptions, send func(server.Event) error) error {
	l.mu.Lock()
	from := uint64(1)
	if o.Tail >= 0 {
		from = l.next - min(uint64(o.Tail), l.next-1)
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
	first := l.next - uint64(len(l.events))
	if from < first {
		from = first
	}
	rest := l.events[from-first:]
	return append([]server.Event(nil), rest[:min(len(rest), batchSize)]...), l.changed
}
