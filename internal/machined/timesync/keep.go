package timesync

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// Clock is the kernel's.
type Clock interface {
	// Step sets it by an offset, at once.
	Step(offset time.Duration) error
	// Slew has the kernel bring it right over some time; the poll is how long no other correction comes. Distance is how wrong it may be.
	Slew(offset, distance, poll time.Duration) error
	// Kept tells whether it was corrected in this boot, by whatever process, and counts as right still.
	Kept() bool
}

// Query asks one server. The text of the error is the same for the same cause.
type Query func(ctx context.Context, server string) (Sample, error)

// Config is what Keep is made of. All fields are needed but Log and Floor.
type Config struct {
	// Servers are those to be asked now, names or addresses; none leaves the clock alone.
	Servers func() []string
	Query   Query
	Clock   Clock
	// Since is a clock that nobody sets, Now the one that is kept.
	Since func() time.Duration
	Now   func() time.Time
	// Floor is a time that has certainly passed: the clock is never set to one before it. The zero Time allows all.
	Floor time.Time
	// Publish is called with each change of the status.
	Publish func(Status)
	Log     *slog.Logger
}

// Status is how the node's clock is.
type Status struct {
	// Servers are those that are asked; none means that nobody keeps the clock.
	Servers []string
	// Synchronised: a server was heard of late, and the clock corrected by it.
	Synchronised bool
	// Reason says what is waited for while not Synchronised.
	Reason string
	// Steps is how often the clock was set.
	Steps int
}

const (
	// queryTimeout is for one server to answer.
	queryTimeout = 5 * time.Second
	// firstRetry is the time to the next round when no server answered; each further one doubles it, up to MinPoll.
	firstRetry = 2 * time.Second
	// maxAge is how long the clock counts as right without an answer: a crystal is off by some 50 ppm, which makes 0.2 s of it.
	maxAge = time.Hour
	// serversEvery is how often it is looked whether there are servers.
	serversEvery = 2 * time.Second
)

// Keep asks and corrects until ctx ends.
func Keep(ctx context.Context, cfg Config) error {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	k := &keeper{Config: cfg, kept: cfg.Clock.Kept()}
	for {
		wait := k.round(ctx)
		// Others may be asked before that.
		for end := k.Since() + wait; k.Since() < end && slices.Equal(k.servers, k.Servers()); {
			if !sleep(ctx, min(serversEvery, end-k.Since())) {
				return ctx.Err()
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// keeper is of one goroutine.
type keeper struct {
	Config
	servers []string
	// kept: an agent before this one has corrected the clock in this boot. Heard is set once this one has; at is when that was last.
	kept  bool
	heard bool
	at    time.Duration
	// steps is how often the clock was set.
	steps int
	// poll is the time between rounds that went well, retry that after one that did not.
	poll, retry time.Duration
	told        *Status
}

// round asks all servers once, and returns when to do so again.
func (k *keeper) round(ctx context.Context) time.Duration {
	if servers := k.Servers(); !slices.Equal(servers, k.servers) {
		k.servers, k.poll, k.retry = slices.Clone(servers), 0, 0
	}
	if len(k.servers) == 0 {
		k.tell(Status{})
		return serversEvery
	}
	if !k.heard && (k.told == nil || len(k.told.Servers) == 0) {
		k.tell(Status{Servers: k.servers, Reason: "waiting for " + strings.Join(k.servers, ", ") + " to tell the time"})
	}
	best, err := k.ask(ctx)
	if err == nil {
		err = k.correct(best)
	}
	if ctx.Err() != nil {
		return 0
	}
	if err != nil {
		return k.failed(err)
	}
	k.heard, k.at, k.retry = true, k.Since(), 0
	k.tell(Status{Servers: k.servers, Synchronised: true})
	return k.poll
}

// failed keeps a clock that was right lately.
func (k *keeper) failed(err error) time.Duration {
	if k.heard && k.Since()-k.at < maxAge {
		k.Log.Debug("the clock was not corrected", "error", err)
	} else {
		k.tell(Status{Servers: k.servers, Reason: err.Error()})
	}
	k.retry = min(max(2*k.retry, firstRetry), MinPoll)
	return k.retry + rand.N(k.retry/4)
}

// ask returns the time on which the servers agree.
func (k *keeper) ask(ctx context.Context) (Sample, error) {
	samples, errs := make([]Sample, len(k.servers)), make([]error, len(k.servers))
	var all sync.WaitGroup
	for i, server := range k.servers {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, queryTimeout)
			defer cancel()
			samples[i], errs[i] = k.Query(ctx, server)
		})
	}
	all.Wait()
	var good []Sample
	var bad []string
	for i, err := range errs {
		if err != nil {
			bad = append(bad, fmt.Sprintf("%s: %v", k.servers[i], err))
			continue
		}
		good = append(good, samples[i])
	}
	if len(good) == 0 {
		return Sample{}, errors.New("no time server tells the time: " + strings.Join(bad, "; "))
	}
	return Pick(good)
}

// correct has the clock corrected.
func (k *keeper) correct(s Sample) error {
	poll := nextPoll(k.poll, s.Offset)
	if to := k.Now().Add(s.Offset); !k.Floor.IsZero() && to.Before(k.Floor) {
		return fmt.Errorf("%s says that it is %s, when this release was not built yet", s.Server, to.UTC().Format(time.DateOnly))
	}
	switch Decide(s.Offset, k.heard || k.kept) {
	case Refuse:
		return fmt.Errorf("%s says that the clock is off by %s, after it was right: this is not believed before the next boot", s.Server, s.Offset.Round(time.Second))
	case Step:
		if err := k.Clock.Step(s.Offset); err != nil {
			return fmt.Errorf("set the clock: %w", err)
		}
		k.steps++
		k.Log.Info("the clock was set", "by", s.Offset, "server", s.Server)
		s.Offset = 0
	case Slew:
		if !k.heard {
			k.Log.Info("the clock is right", "offset", s.Offset, "server", s.Server)
		}
	}
	if err := k.Clock.Slew(s.Offset, s.Distance, poll); err != nil {
		return fmt.Errorf("correct the clock: %w", err)
	}
	k.poll = poll
	return nil
}

// tell publishes a status that is another than the last.
func (k *keeper) tell(s Status) {
	s.Steps = k.steps
	if t := k.told; t != nil && t.Steps == s.Steps && t.Synchronised == s.Synchronised && t.Reason == s.Reason && slices.Equal(t.Servers, s.Servers) {
		return
	}
	if s.Reason != "" {
		k.Log.Warn("the clock is not kept", "reason", s.Reason)
	}
	k.told = &s
	k.Publish(s)
}

// sleep waits for d; false means that ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
