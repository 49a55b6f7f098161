package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"
)

const (
	askEvery   = 100 * time.Millisecond
	askTimeout = 10 * time.Second
)

// tally counts answers by who gave them.
type tally struct {
	Answers  map[string]int `json:"answers"`
	Failures int            `json:"failures"`
	// LastError is that of the last failure, and LastFailure when it was over.
	LastError   string    `json:"lastError,omitempty"`
	LastFailure time.Time `json:"lastFailure"`
}

// asked is what "/asked" says.
type asked struct {
	// Fresh is of requests on a new connection each, Kept of those on one that is
	// kept, and was made Connections times.
	Fresh       tally `json:"fresh"`
	Kept        tally `json:"kept"`
	Connections int   `json:"connections"`
}

// asker asks a service of these servers all the time.
type asker struct {
	url         string
	fresh, kept *http.Client

	mu     sync.Mutex
	counts asked
}

func newAsker(url string) *asker {
	return &asker{
		url:    url,
		fresh:  &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: askTimeout},
		kept:   &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}, Timeout: askTimeout},
		counts: asked{Fresh: tally{Answers: map[string]int{}}, Kept: tally{Answers: map[string]int{}}},
	}
}

// run asks until ctx ends.
func (a *asker) run(ctx context.Context) {
	var both sync.WaitGroup
	both.Go(func() { a.repeat(ctx, a.fresh, &a.counts.Fresh) })
	both.Go(func() {
		traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) {
			if !c.Reused {
				a.mu.Lock()
				defer a.mu.Unlock()
				a.counts.Connections++
			}
		}})
		a.repeat(traced, a.kept, &a.counts.Kept)
	})
	both.Wait()
}

func (a *asker) repeat(ctx context.Context, client *http.Client, into *tally) {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		name, err := a.askOnce(ctx, client)
		if ctx.Err() != nil {
			return
		}
		a.mu.Lock()
		if err != nil {
			into.Failures++
			into.LastError, into.LastFailure = err.Error(), time.Now().UTC()
		} else {
			into.Answers[name]++
		}
		a.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// askOnce returns the host name of who answered.
func (a *asker) askOnce(ctx context.Context, client *http.Client) (string, error) {
	body, err := get(ctx, client, a.url)
	if err != nil {
		return "", err
	}
	var from answer
	if err := json.Unmarshal(body, &from); err != nil || from.Hostname == "" {
		return "", fmt.Errorf("%s is no answer of such a server", body)
	}
	return from.Hostname, nil
}

// result is a copy of what was counted.
func (a *asker) result() asked {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := a.counts
	out.Fresh.Answers, out.Kept.Answers = maps.Clone(out.Fresh.Answers), maps.Clone(out.Kept.Answers)
	return out
}
