package machined

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	poolv1 "github.com/cyvive/cyvive/api/proto/pool/v1"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage/pool/events"
)

const (
	// keepPoolEvents is how many events of pools are remembered.
	keepPoolEvents = 1000
	// keepPoolHistory is how many of these are of what was done to datasets and snapshots: a schedule that prunes makes as many at once, for which no error of a device is
	// forgotten.
	keepPoolHistory = keepPoolEvents / 2
)

// poolEventsRetry is how long to wait before the stream of events is opened again.
const poolEventsRetry = 5 * time.Second

// poolLog remembers events of pools, in memory: the kernel keeps the latest over a restart of the agent. Its methods are safe for concurrent use.
type poolLog struct {
	mu     sync.Mutex
	events []poolEvent // oldest first
	// history is how many of them are of class events.History.
	history int
	// next is the number of the next event.
	next    uint64
	changed chan struct{} // closed with each event
}

// poolEvent is an event and its number, counted from the agent's start.
type poolEvent struct {
	events.Event
	number uint64
}

func newPoolLog() *poolLog { return &poolLog{changed: make(chan struct{})} }

func (l *poolLog) add(e events.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.Class == events.History {
		if l.history == keepPoolHistory {
			l.forget(slices.IndexFunc(l.events, func(o poolEvent) bool { return o.Class == events.History }))
		}
		l.history++
	}
	if len(l.events) == keepPoolEvents {
		l.forget(0)
	}
	l.events = append(l.events, poolEvent{e, l.next})
	l.next++
	close(l.changed)
	l.changed = make(chan struct{})
}

// forget drops an event.
func (l *poolLog) forget(at int) {
	if l.events[at].Class == events.History {
		l.history--
	}
	l.events = slices.Delete(l.events, at, at+1)
}

// since returns the events from a number on, the number of the next event, and what is closed with that.
func (l *poolLog) since(from uint64) (list []events.Event, next uint64, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		if e.number >= from {
			list = append(list, e.Event)
		}
	}
	return list, l.next, l.changed
}

// stream calls send for each event that is wanted, oldest first. A receiver that is too slow misses those that are forgotten meanwhile.
func (l *poolLog) stream(ctx context.Context, o server.PoolEventOptions, send func(events.Event) error) error {
	mark := events.Mark{EID: o.AfterID, Time: o.AfterTime}
	batch, next, changed := l.since(0)
	batch = slices.DeleteFunc(batch, func(e events.Event) bool { return o.AfterID != 0 && mark.Seen(e) })
	if o.Tail >= 0 {
		batch = batch[max(0, len(batch)-o.Tail):]
	}
	for {
		for _, e := range batch {
			if err := send(e); err != nil {
				return err
			}
		}
		if !o.Follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		batch, next, changed = l.since(next)
	}
}

// followPools reads what the kernel reports of pools.
func (a *Agent) followPools(ctx context.Context) error {
	var mark events.Mark
	var problem string
	for {
		var err error
		mark, err = events.Follow(ctx, a.cfg.Pools.Events, mark, func(e events.Event) error {
			a.poolEvents.add(e)
			return nil
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if text := fmt.Sprint(err); text != problem {
			a.log.Warn("events of pools cannot be read", "error", err)
			problem = text
		}
		if !sleep(ctx, poolEventsRetry) {
			return ctx.Err()
		}
	}
}

// Events implements server.Pools.
func (v poolsAPI) Events(ctx context.Context, o server.PoolEventOptions, send func(*poolv1.StreamEventsResponse) error) error {
	if err := v.here(); err != nil {
		return err
	}
	return v.a.poolEvents.stream(ctx, o, func(e events.Event) error { return send(poolEventToProto(e)) })
}

func poolEventToProto(e events.Event) *poolv1.StreamEventsResponse {
	out := &poolv1.StreamEventsResponse{
		Id: e.EID, Time: stamped(e.Time), Class: string(e.Class), Pool: valid(e.Pool), PoolGuid: uint64(e.PoolGUID), VdevGuid: uint64(e.VdevGUID),
		VdevPath: valid(e.VdevPath), VdevState: stateToProto(e.VdevState), Text: poolEventText(e), Lost: e.Lost, Fields: map[string]string{},
	}
	for name, value := range e.Fields {
		out.Fields[valid(name)] = valid(value)
	}
	return out
}

// poolEventWords are what classes of events mean (zpool-events(8)).
func poolEventWords() map[events.Class]string {
	return map[events.Class]string{
		events.Checksum: "a checksum was wrong", events.IO: "an I/O failed", events.Data: "data could not be read from any copy", events.Delay: "an I/O took long",
		events.Deadman: "an I/O does not come to an end", events.IOFailure: "the pool has stopped all I/O", events.ProbeFailure: "a device does not answer",
		events.LogReplay: "the log of intents could not be replayed", events.PoolFailure: "the pool could not be opened",
		events.Removed: "a device was pulled", events.StateChange: "a device has another state", events.AutoReplace: "a device was replaced by itself",
		events.PoolImport: "imported", events.PoolCreate: "created", events.PoolExport: "exported", events.PoolDestroy: "destroyed",
		events.ConfigSync: "its configuration was written", events.VdevRemove: "a device was taken out", events.VdevClear: "errors were cleared",
		events.ResilverStart: "resilver begun", events.ResilverFinish: "resilver done", events.ScrubStart: "scrub begun", events.ScrubFinish: "scrub done",
	}
}

// poolEventText is an event in words. Of a class that has none they are made of its name.
func poolEventText(e events.Event) string {
	if e.Class == events.Dropped {
		return fmt.Sprintf("%d events were lost before anybody read them", e.Lost)
	}
	text := poolEventWords()[e.Class]
	if text == "" {
		last := string(e.Class)[strings.LastIndexByte(string(e.Class), '.')+1:]
		text = strings.ReplaceAll(last, "_", " ")
		if e.IsDevice() {
			text = "a device cannot be used: " + text
		}
	}
	where := e.VdevPath
	if where == "" && e.VdevGUID != 0 {
		where = e.VdevGUID.String()
	}
	if where != "" {
		text += ": " + where
	}
	if e.VdevState != "" {
		text += ", " + string(e.VdevState)
	}
	return valid(text)
}
