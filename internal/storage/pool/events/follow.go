package events

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Mark is the last event that was handled. The zero value is none.
type Mark struct {
	EID  uint64
	Time time.Time
}

// Seen tells whether an event is the mark's or one before it. Numbers begin anew when the module is loaded: one that is lower and later is new.
func (m Mark) Seen(e Event) bool {
	return e.Class != Dropped && e.EID <= m.EID && !e.Time.After(m.Time)
}

// Open starts zpool events -Hvf, with LC_ALL=C, and returns what it writes. Closing ends it.
type Open func(ctx context.Context) (io.ReadCloser, error)

// ErrEnded says that the stream has ended, which it does by itself when the module is gone.
var ErrEnded = errors.New("the stream of events has ended")

// Follow hands events to handle, one after the other, those up to the mark left out. It returns with the mark of the last that was handled, and the reason: that of
// handle, of the stream, or of ctx. Whoever calls waits a while and calls again with the mark.
func Follow(ctx context.Context, open Open, since Mark, handle func(Event) error) (Mark, error) {
	stream, err := open(ctx)
	if err != nil {
		return since, fmt.Errorf("open the stream of events: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { stream.Close() })
	defer func() {
		if stop() {
			stream.Close()
		}
	}()
	p := NewParser(stream)
	for {
		e, err := p.Next()
		if ctx.Err() != nil {
			return since, ctx.Err()
		}
		if errors.Is(err, io.EOF) {
			return since, ErrEnded
		}
		if err != nil {
			return since, fmt.Errorf("read events: %w", err)
		}
		if since.Seen(e) {
			continue
		}
		if err := handle(e); err != nil {
			return since, err
		}
		if e.Class != Dropped {
			since = Mark{EID: e.EID, Time: e.Time}
		}
	}
}
