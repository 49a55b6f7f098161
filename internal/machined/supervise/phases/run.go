package phases

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// Work is what one phase does. Its context ends at the phase's deadline; work
// that does not heed it is left behind.
type Work func(ctx context.Context) error

// Run walks through phases and returns when the last is over or overdue. A
// phase without work is passed over. tick, when not nil, is called at least
// once a second from this goroutine (a watchdog's ping).
func Run(log *slog.Logger, list []Phase, work map[string]Work, tick func()) {
	m := New(list)
	done := make(chan Event, len(list))
	cancels := map[string]context.CancelFunc{}
	defer func() {
		for _, cancel := range cancels {
			cancel()
		}
	}()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	actions := m.Step(Event{Kind: Asked}, time.Now())
	for {
		for _, a := range actions {
			switch a.Kind {
			case Begin:
				ctx, cancel := context.WithDeadline(context.Background(), m.Deadline())
				cancels[a.Phase] = cancel
				log.Info("shutdown phase", "phase", a.Phase)
				go perform(ctx, log, a.Phase, work[a.Phase], done)
			case Abandon:
				log.Warn("shutdown phase is overdue, going on", "phase", a.Phase)
				cancels[a.Phase]()
			case GoDown:
				return
			}
		}
		timer := time.NewTimer(time.Until(m.Deadline()))
		select {
		case e := <-done:
			actions = m.Step(e, time.Now())
		case <-timer.C:
			actions = m.Step(Event{Kind: TimeReached}, time.Now())
		case <-ticker.C:
			actions = nil
			if tick != nil {
				tick()
			}
		}
		timer.Stop()
	}
}

func perform(ctx context.Context, log *slog.Logger, name string, w Work, done chan<- Event) {
	defer func() {
		if p := recover(); p != nil {
			log.Error("shutdown phase broke", "phase", name, "panic", fmt.Sprint(p))
		}
		done <- Event{Kind: Done, Phase: name}
	}()
	if w == nil {
		return
	}
	if err := w(ctx); err != nil {
		log.Warn("shutdown phase had errors", "phase", name, "err", err)
	}
}
