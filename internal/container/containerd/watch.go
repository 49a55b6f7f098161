package containerd

import (
	"context"
	"time"
)

// Watch implements container.Runtime.
func (r *Runtime) Watch(ctx context.Context, changed func()) error {
	for ctx.Err() == nil {
		r.follow(ctx, changed)
		select {
		case <-ctx.Done():
		case <-time.After(dialTimeout):
		}
	}
	return ctx.Err()
}

// eventFilter selects events of a namespace (the syntax is that of containerd's
// pkg/filters; topics are those of its core/runtime/events.go).
func eventFilter(namespace string) string {
	return "namespace==" + namespace + `,topic~="^/tasks/(start|exit)$"`
}

const (
	// eventPause is the shortest time between two calls of changed: what comes meanwhile is
	// told of at its end.
	eventPause = 500 * time.Millisecond
	// eventBurst is how many events are read meanwhile. More stay with whoever sends them,
	// so that a flood costs little; containerd keeps them.
	eventBurst = 256
)

// follow handles events of one connection, until it ends.
func (r *Runtime) follow(ctx context.Context, changed func()) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if serving, err := r.client.IsServing(ctx); err != nil || !serving {
		return
	}
	events, ended := r.client.EventService().Subscribe(ctx, eventFilter(r.namespace))
	changed()
	for pause := time.After(eventPause); gather(events, ended, pause); pause = time.After(eventPause) {
		changed()
	}
}

// gather returns true when there were events, not before pause is over, and false when
// there will be none any more.
func gather[T any](events <-chan T, ended <-chan error, pause <-chan time.Time) bool {
	for n, over := 0, false; n == 0 || !over; {
		in := events
		if n == eventBurst {
			in = nil
		}
		select {
		case <-in:
			n++
		case <-ended:
			return false
		case <-pause:
			over = true
		}
	}
	return true
}
