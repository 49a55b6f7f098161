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

// follow handles events of one connection, until it ends.
func (r *Runtime) follow(ctx context.Context, changed func()) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if serving, err := r.client.IsServing(ctx); err != nil || !serving {
		return
	}
	events, ended := r.client.EventService().Subscribe(ctx, eventFilter(r.namespace))
	changed()
	for {
		select {
		case <-events:
			changed()
		case <-ended:
			return
		}
	}
}
