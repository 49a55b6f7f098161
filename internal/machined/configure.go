package machined

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/maintenance"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
)

// Document is a configuration as it was found.
type Document struct {
	// Name is that of the file, for error texts.
	Name string
	Data []byte
}

// Place is where a configuration may be. Its methods are not called concurrently.
type Place interface {
	// Find looks once. It returns nil and no error if there is no configuration now, and an error of type *Waiting if it cannot look yet.
	Find(ctx context.Context) (*Document, error)
	// Where says in words where Find looks, for a person who wonders why the node has no configuration.
	Where() string
}

// Source finds the configuration of the node, and its owner.
type Source interface {
	Place
	// Owners is what is said of the node's owner, in the order of the places: by those that are looked at with each call, and by what Find saw last.
	Owners() []maintenance.Claim
	// Passphrase is what Find saw last of the passphrase of the node's disk.
	Passphrase() Passphrase
}

// Passphrase is what opens the disk of a node that was made so, as a place gave it. The zero Passphrase is that no place gave one.
type Passphrase struct {
	// From names the place's documents.
	From string
	// Text is the zero Secret where there is a Problem.
	Text config.Secret
	// Problem says why what the place gives is none.
	Problem string
}

// Waiting is the error of a source that cannot look yet. Nothing is wrong so far; the node is told what it waits for, and brings up the network
// that needs no configuration, which may be just that.
type Waiting struct{ For string }

// Error says what is waited for.
func (w *Waiting) Error() string { return "waiting for " + w.For }

const (
	// searchEvery is the time between two looks until Pace.SearchFor.
	searchEvery = 250 * time.Millisecond
	// waitFor is how long a source that waits is asked every waitEvery, as what it waits for is mostly an address or a server that starts.
	waitFor   = time.Minute
	waitEvery = time.Second
	// awaitAfter is how long volumes may take to appear before the network is brought up for a state volume whose key comes over it, as it is for servers
	// that have a configuration (package source, settle).
	awaitAfter = 2 * time.Second
)

// configure has the node take the configuration of its state volume or, until one was stored there, that of its source; then it looks after trials.
func (a *Agent) configure(ctx context.Context) error {
	if err := a.openConfigs(ctx); err != nil {
		return err
	}
	for {
		if !a.takeFirst() {
			if err := a.search(ctx); err != nil {
				return err
			}
		}
		if err := a.keepConfigs(ctx); err != nil {
			return err
		}
	}
}

// search looks for a configuration until the node has a valid one, be it from elsewhere. Without one the node is in maintenance mode, and goes on looking: a
// volume may be attached, or replaced by a right one.
func (a *Agent) search(ctx context.Context) error {
	started := time.Now()
	for {
		a.lateStore()
		doc, input, err := a.lookOnce(ctx)
		searched := time.Since(started)
		if input == nil && err == nil {
			err = a.nothingFound(searched)
		}
		if a.conclude(doc, input, err, a.cfg.Pace.givenUp(searched, err)) {
			return nil
		}
		if err := a.configs.await(ctx, a.cfg.Pace.untilNext(searched, err)); err != nil {
			return err
		}
	}
}

// nothingFound is what to make of places that hold nothing, after looks for some time; nil while something may still appear. A state volume that waits for
// its key may hold the configuration, and what it waits for may need the network; so may one that has got its key, until it is mounted.
func (a *Agent) nothingFound(searched time.Duration) error {
	s := a.snapshot().storage.Status
	what := s.StateAwaits
	if s.StateOpens {
		what = "it is open, and not mounted yet"
	}
	if what != "" && searched >= awaitAfter {
		return &Waiting{For: "the state volume, which may hold the configuration: " + what}
	}
	if searched < a.cfg.Pace.SearchFor {
		return nil
	}
	return fmt.Errorf("no configuration found: there is none in %s", a.cfg.Source.Where())
}

// conclude takes what a look has found, unless the node has got a configuration over the API meanwhile. It returns whether the search is over. Without says that
// the node is without a configuration until further notice.
func (a *Agent) conclude(doc *Document, input *plan.Input, err error, without bool) bool {
	c := &a.configs
	c.mu.Lock()
	defer c.mu.Unlock()
	switch s := a.snapshot(); {
	case s.came == reading:
		return false // what is stored is about to be known
	case s.input.Config != nil:
		return true
	}
	if a.unread() {
		return false // the next look opens the store
	}
	if a.sealed() || c.store != nil && c.store.Record().Own() {
		return true // what is stored is about to be in force, or nothing is
	}
	if input != nil {
		if err = a.encryptable(input.Config); err == nil {
			a.adopt(input, nil, false)
			c.foundInput = input
			a.keepFound(doc)
			return true
		}
		err = fmt.Errorf("use the configuration of %s: %w", doc.Name, err)
	}
	if err != nil {
		a.adopt(nil, err, false)
	}
	a.claim(without)
	return false
}

// claim notes who owns the node by what its places say now, and whether it is without a configuration. Once it is it stays so, whatever comes to be waited for.
// The caller holds the lock of configs.
func (a *Agent) claim(without bool) {
	before, owner := a.snapshot(), a.owner()
	if without = without || before.without; without != before.without || !reflect.DeepEqual(before.owner, owner) {
		a.update(func(s *snapshot) {
			if s.came == before.came {
				s.owner, s.without = owner, without
			}
		})
	}
}

// givenUp tells whether the node counts as one without a configuration after looks for some time, of which the last gave err.
func (p Pace) givenUp(searched time.Duration, err error) bool {
	var waiting *Waiting
	if errors.As(err, &waiting) {
		return searched >= waitFor
	}
	return searched >= p.SearchFor
}

// untilNext is the time to the next look, after looks for some time of which the last gave err.
func (p Pace) untilNext(searched time.Duration, err error) time.Duration {
	var waiting *Waiting
	switch {
	case searched < p.SearchFor:
		return searchEvery
	case errors.As(err, &waiting) && searched < waitFor:
		return waitEvery
	}
	return p.SlowSearch
}

// lookOnce returns a configuration with its documents, or why the one that was found does not serve, or neither.
func (a *Agent) lookOnce(ctx context.Context) (*Document, *plan.Input, error) {
	doc, _, err := a.find(ctx)
	var waiting *Waiting
	if errors.As(err, &waiting) {
		return nil, nil, err
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read configuration: %w", err)
	}
	if doc == nil {
		return nil, nil, nil
	}
	cfg, err := config.ParseSealed(doc.Name, doc.Data, a.unseal)
	if err != nil {
		return nil, nil, err
	}
	input, err := inputOf(cfg)
	return doc, input, err
}

// inputOf is what the plan takes of a configuration.
func inputOf(cfg *config.Config) (*plan.Input, error) {
	trust, err := plan.ReadTrust(cfg)
	if err != nil {
		return nil, err
	}
	return &plan.Input{Searched: true, Config: cfg, Trust: trust}, nil
}

// adopt puts a configuration in force, or what keeps the node from having one. Stored says that it is by what the state volume has.
func (a *Agent) adopt(input *plan.Input, err error, stored bool) {
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	var waiting *Waiting
	switch {
	case input != nil:
		a.events.Add(server.EventConfiguration, "configuration", "accepted", "host name "+input.Config.Machine.Hostname)
		a.log.Info("configuration accepted", "hostname", input.Config.Machine.Hostname, "cluster", input.Config.Cluster != nil)
	case problem == a.snapshot().configProblem:
	case errors.As(err, &waiting):
		a.log.Info("no configuration yet", "reason", problem)
		a.events.Add(server.EventConfiguration, "configuration", "waiting", problem)
	default:
		a.log.Warn("no valid configuration, the node is in maintenance mode", "error", problem)
		a.events.Add(server.EventConfiguration, "configuration", "refused", problem)
	}
	a.update(func(s *snapshot) {
		if s.came == reading && !stored {
			return // it came in between
		}
		s.configProblem = problem
		s.input.Searched = true
		if input != nil {
			s.input.Config, s.input.Trust = input.Config, input.Trust
		}
	})
}
