package source

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyvive/cyvive/internal/machined"
)

const (
	// settle is how long volumes may take to appear before a server is asked.
	settle = 2 * time.Second
	// firstPause is the time from a request without success to the next; each further one is twice as long, up to lastPause.
	firstPause = time.Second
	lastPause  = 30 * time.Second
	// maxAfter bounds the time that a server can ask the node to stay away.
	maxAfter = 5 * time.Minute
)

// remote is a place that is asked over the network. It asks at its own pace, however often it is looked at, and gives the last answer between.
type remote struct {
	cfg   *Config
	what  string
	where string
	fetch func(context.Context) (*machined.Document, error)

	began, next time.Time
	pause       time.Duration
	last        error
}

// remote returns a place that is asked by fetch, whose errors are of type *trouble if they are the server's. What names the server in reasons, and
// where the place.
func (c *Config) remote(what, where string, fetch func(context.Context) (*machined.Document, error)) *remote {
	return &remote{cfg: c, what: what, where: where, fetch: fetch}
}

// Where names the place.
func (r *remote) Where() string { return r.where }

// Find asks the server, if it is time to.
func (r *remote) Find(ctx context.Context) (*machined.Document, error) {
	now := r.cfg.Now()
	if r.began.IsZero() {
		r.began = now
	}
	switch {
	case now.Sub(r.began) < settle:
		return nil, &machined.Waiting{For: "volumes to appear, before " + r.what + " is asked"}
	case !r.cfg.Addressed():
		return nil, &machined.Waiting{For: "an address from which to ask " + r.what}
	case now.Before(r.next):
		return nil, r.last
	}
	doc, err := r.fetch(ctx)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if doc != nil && err == nil {
		r.pause, r.last = 0, nil
		return doc, nil
	}
	r.last = r.explain(err)
	r.next = r.cfg.Now().Add(r.untilNext(err))
	return nil, r.last
}

// explain makes a sentence of what the server did.
func (r *remote) explain(err error) error {
	var t *trouble
	switch {
	case !errors.As(err, &t):
		return err
	case t.passing:
		return &machined.Waiting{For: r.what + " at " + t.reason}
	}
	return fmt.Errorf("ask %s at %w", r.what, err)
}

// untilNext is how long the server is left alone after an error, or after it said that it has nothing.
func (r *remote) untilNext(err error) time.Duration {
	var t *trouble
	if !errors.As(err, &t) || !t.passing {
		r.pause = 0
		return lastPause
	}
	r.pause = min(max(2*r.pause, firstPause), lastPause)
	return max(r.pause, t.after)
}
