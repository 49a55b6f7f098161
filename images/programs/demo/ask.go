package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

const (
	askEvery   = 100 * time.Millisecond
	askTimeout = 30 * time.Second
	// maxErrors is how many different errors are counted each on its own.
	maxErrors = 16
)

// tally counts answers by who gave them.
type tally struct {
	Answers  map[string]int `json:"answers"`
	Failures int            `json:"failures"`
	// Errors counts the first sorts of failures.
	Errors map[string]int `json:"errors,omitempty"`
	// LastError is that of the last failure, and LastFailure when its request began.
	LastError   string    `json:"lastError,omitempty"`
	LastFailure time.Time `json:"lastFailure"`
}

// fail counts the failure of a request that began at a time.
func (t *tally) fail(err error, began time.Time) {
	t.Failures++
	t.LastError, t.LastFailure = err.Error(), began
	if _, known := t.Errors[t.LastError]; !known && len(t.Errors) == maxErrors {
		return
	}
	if t.Errors == nil {
		t.Errors = map[string]int{}
	}
	t.Errors[t.LastError]++
}

// asked is what "/asked" says.
type asked struct {
	// Now is when it said so, by the clock that LastFailure goes by.
	Now time.Time `json:"now"`
	// Fresh is of requests on a new connection each, Kept of those on one that is
	// kept, and was made Connections times.
	Fresh       tally `json:"fresh"`
	Kept        tally `json:"kept"`
	Connections int   `json:"connections"`
}

// asker asks a service of these servers all the time.
type asker struct {
	url  string
	conn net.Conn // the one that is kept

	mu     sync.Mutex
	counts asked
}

func newAsker(url string) *asker {
	return &asker{url: url, counts: asked{Fresh: tally{Answers: map[string]int{}}, Kept: tally{Answers: map[string]int{}}}}
}

// run asks until ctx ends.
func (a *asker) run(ctx context.Context) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: askTimeout}
	var both sync.WaitGroup
	both.Go(func() {
		a.repeat(ctx, &a.counts.Fresh, func() ([]byte, error) { return get(ctx, client, a.url) })
	})
	both.Go(func() {
		a.repeat(ctx, &a.counts.Kept, func() ([]byte, error) { return a.keep(ctx) })
		if a.conn != nil {
			a.conn.Close()
		}
	})
	both.Wait()
}

// repeat counts what ask brings.
func (a *asker) repeat(ctx context.Context, into *tally, ask func() ([]byte, error)) {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		began := time.Now().UTC()
		name, err := hostOf(ask())
		if ctx.Err() != nil {
			return
		}
		a.mu.Lock()
		if err != nil {
			into.fail(err, began)
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

// keep asks on the kept connection, and makes it if there is none. HTTP clients
// replace a connection in silence where it ended or was slow; here every end shows.
func (a *asker) keep(ctx context.Context) (body []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url, nil)
	if err != nil {
		return nil, err
	}
	if a.conn == nil {
		if a.conn, err = (&net.Dialer{Timeout: askTimeout}).DialContext(ctx, "tcp", hostPort(request.URL)); err != nil {
			return nil, err
		}
		a.mu.Lock()
		a.counts.Connections++
		a.mu.Unlock()
	}
	defer func() {
		if err != nil {
			a.conn.Close()
			a.conn = nil
		}
	}()
	if err := a.conn.SetDeadline(time.Now().Add(askTimeout)); err != nil {
		return nil, err
	}
	if err := request.Write(a.conn); err != nil {
		return nil, err
	}
	// Nothing follows an answer until the next request, so the reader holds nothing back.
	response, err := http.ReadResponse(bufio.NewReader(a.conn), request)
	if err != nil {
		return nil, err
	}
	body, err = read(response)
	if err == nil && response.Close {
		err = errors.New("the server closes the connection")
	}
	return body, err
}

func hostPort(u *url.URL) string {
	if u.Port() == "" {
		return net.JoinHostPort(u.Hostname(), "80")
	}
	return u.Host
}

// hostOf returns the host name of who answered.
func hostOf(body []byte, err error) (string, error) {
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
	out.Now = time.Now().UTC()
	out.Fresh.Answers, out.Kept.Answers = maps.Clone(out.Fresh.Answers), maps.Clone(out.Kept.Answers)
	out.Fresh.Errors, out.Kept.Errors = maps.Clone(out.Fresh.Errors), maps.Clone(out.Kept.Errors)
	return out
}
