package server

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Times between two looks at what is watched. Health and node are looked at when
// the agent learns something new; the rest gives no sign of its own.
const (
	agentInterval   = 10 * time.Second
	listInterval    = time.Second
	kernelInterval  = 2 * time.Second
	minimalInterval = time.Second
	// settleTime lets changes that come together be seen together.
	settleTime = 100 * time.Millisecond
)

// watch sends what look returns, and again each time that is found to differ.
// Wait returns when it is time for another look. The end of the context is no
// error.
func watch[T proto.Message](ctx context.Context, wait func(context.Context), look func(context.Context) (T, error), send func(T) error) error {
	var sent T
	first := true
	for {
		m, err := look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if first || !proto.Equal(sent, m) {
			if err := send(m); err != nil {
				return err
			}
			sent, first = m, false
		}
		wait(ctx)
		if ctx.Err() != nil {
			return nil
		}
	}
}

// every waits for the same time always.
func every(d time.Duration) func(context.Context) {
	return func(ctx context.Context) {
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
	}
}

// interval reads the time between two looks of a request.
func interval(d *durationpb.Duration) func(context.Context) {
	if d == nil {
		return every(kernelInterval)
	}
	return every(max(d.AsDuration(), minimalInterval))
}

// changes waits until the agent has learnt something, or for the interval.
func (c Config) changes() func(context.Context) {
	if c.Changed == nil {
		return every(listInterval)
	}
	var version uint64
	return func(ctx context.Context) {
		every(settleTime)(ctx)
		ctx, cancel := context.WithTimeout(ctx, agentInterval)
		defer cancel()
		version = c.Changed(ctx, version)
	}
}
