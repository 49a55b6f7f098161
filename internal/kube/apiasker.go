package kube

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/cyvive/cyvive/internal/container"
)

// apiAskTimeout bounds one question to the API server and the other parts of the
// control plane: each of its requests gives up by itself before (requestTimeout).
const apiAskTimeout = time.Minute

// notAnswered is the problem of an API server that nobody has heard of yet.
const notAnswered = "it has not answered yet"

// apiAnswer is what the control plane answered; the fields are those of [Observed]. It
// may be of a moment ago, of containers as they were when they were asked.
type apiAnswer struct {
	asked   map[string]container.Info
	silent  map[string]time.Duration
	api     API
	problem string
}

// silence returns for how long those of the containers have been silent that still run as
// they did when they were asked: one that was ended for it is not ended twice.
func (a apiAnswer) silence(containers map[string]container.Info) map[string]time.Duration {
	silent := maps.Clone(a.silent)
	maps.DeleteFunc(silent, func(name string, _ time.Duration) bool {
		info := containers[name]
		return info.State != container.Running || !info.StartedAt.Equal(a.asked[name].StartedAt)
	})
	return silent
}

// served says that the API server answered with something that can be acted on.
func (a apiAnswer) served() bool { return a.api.Ready || a.api.Node != nil }

// apiAsker asks the API server what it knows, and the parts of the control plane whether
// they answer, all at once.
//
// An API server that starts takes connections long before it answers them. Until it has
// answered it is not waited for: the question stays open beside the reconcile loop, which
// looks after the plane meanwhile. One that has answered is waited for, so that what
// follows an operation is seen after it.
//
//	idle ──ask──▶ asked ──answer, or apiAskTimeout──▶ idle
//
// Its methods are called from one goroutine.
type apiAsker struct {
	api      APIServer
	liveness *liveness
	now      func() time.Time
	// to is the start time of the API server that is asked.
	to time.Time
	// pending brings the answer to the question that is open; nil: none is.
	pending <-chan apiAnswer
	last    apiAnswer
}

// ask returns the answer of the containers as they are now, or of a moment ago.
func (a *apiAsker) ask(ctx context.Context, spec Spec, containers map[string]container.Info) apiAnswer {
	if started := containers[apiServer].StartedAt; !started.Equal(a.to) {
		a.to, a.pending, a.last = started, nil, apiAnswer{problem: notAnswered}
	}
	switch {
	case a.pending == nil:
		a.pending = a.question(ctx, spec, containers)
	case !a.last.served():
		select {
		case a.last = <-a.pending:
			a.pending = nil
		default:
		}
		return a.last
	}
	var enough <-chan time.Time
	if !a.last.served() {
		timer := time.NewTimer(askWait)
		defer timer.Stop()
		enough = timer.C
	}
	select {
	case a.last = <-a.pending:
		a.pending = nil
	case <-enough:
	case <-ctx.Done():
	}
	return a.last
}

// question asks in goroutines of its own, which outlive ctx and end by themselves.
func (a *apiAsker) question(ctx context.Context, spec Spec, containers map[string]container.Info) <-chan apiAnswer {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), apiAskTimeout)
	answer := make(chan apiAnswer, 1)
	go func() {
		defer cancel()
		got := apiAnswer{asked: containers}
		var group sync.WaitGroup
		group.Go(func() { got.silent = a.liveness.observe(ctx, containers, a.now) })
		if containers[apiServer].State == container.Running {
			api, err := a.api.Observe(ctx, spec)
			if got.api = api; err != nil {
				got.problem = err.Error()
			}
		}
		group.Wait()
		answer <- got
	}()
	return answer
}
