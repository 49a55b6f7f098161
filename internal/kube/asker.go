package kube

import (
	"context"
	"time"

	"github.com/cyvive/cyvive/internal/container"
)

const (
	// askWait is how long a pass waits for the answer of the plane's container runtime.
	askWait = time.Second
	// askTimeout bounds one question, with some time for a runtime that gives up by itself.
	askTimeout = 20 * time.Second
)

// asker asks the workload plane's container runtime whether it answers, beside the
// reconcile loop: whoever is root in the plane can take the question and never answer,
// and the control plane does not wait for that. Until a question is answered, or given
// up, the answer to the one before holds, if that was of the same plane.
//
//	idle ──ask──▶ asked ──answer, or askTimeout──▶ idle
//
// Its methods are called from one goroutine.
type asker struct {
	images Images
	// to is the start time of the plane that is asked.
	to time.Time
	// pending brings the answer to the question that is open; nil: none is.
	pending <-chan error
	last    error
}

func newAsker(images Images) asker { return asker{images: images, last: container.ErrUnavailable} }

// ask returns what the runtime of the plane started at to last answered. It waits for
// a question that it asks itself only, and for that no longer than askWait.
func (a *asker) ask(ctx context.Context, to time.Time) error {
	if !to.Equal(a.to) {
		*a = newAsker(a.images)
		a.to = to
	}
	if a.pending != nil {
		select {
		case a.last = <-a.pending:
			a.pending = nil
		default:
		}
		return a.last
	}
	a.pending = question(ctx, a.images)
	timer := time.NewTimer(askWait)
	defer timer.Stop()
	select {
	case a.last = <-a.pending:
		a.pending = nil
	case <-timer.C:
	case <-ctx.Done():
	}
	return a.last
}

// question asks in a goroutine of its own, which outlives ctx and ends by itself.
func question(ctx context.Context, images Images) <-chan error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
	answer := make(chan error, 1)
	go func() {
		defer cancel()
		_, err := images.List(ctx)
		answer <- err
	}()
	return answer
}
