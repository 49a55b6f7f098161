package machined

import (
	"context"
	"fmt"
	"time"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
)

// Document is a configuration as it was found.
type Document struct {
	// Name is that of the file, for error texts.
	Name string
	Data []byte
}

// Source finds the configuration of the node.
type Source interface {
	// Find looks once. It returns nil and no error if there is no configuration now.
	Find(ctx context.Context) (*Document, error)
}

const (
	// searchFor is how long the network waits for a configuration volume before it falls back to DHCP: devices may still be appearing.
	searchFor = 5 * time.Second
	// searchEvery is the time between two looks, and slowSearch that after searchFor.
	searchEvery = 250 * time.Millisecond
	slowSearch  = 5 * time.Second
)

// configure looks for a configuration until it has a valid one, which then holds until the next boot. Without one the node is in maintenance
// mode, and goes on looking: a volume may be attached, or replaced by a right one.
func (a *Agent) configure(ctx context.Context) error {
	started := time.Now()
	for {
		input, problem := a.lookOnce(ctx)
		late := time.Since(started) >= searchFor
		if input == nil && problem == "" && late {
			problem = "no configuration found: there is no volume labelled cidata with a file user-data"
		}
		if problem != "" || input != nil {
			a.adopt(input, problem)
		}
		if input != nil {
			<-ctx.Done()
			return ctx.Err()
		}
		pause := searchEvery
		if late {
			pause = slowSearch
		}
		if !sleep(ctx, pause) {
			return ctx.Err()
		}
	}
}

// lookOnce returns a configuration, or why the one that was found does not serve, or neither.
func (a *Agent) lookOnce(ctx context.Context) (*plan.Input, string) {
	doc, err := a.cfg.Source.Find(ctx)
	if err != nil {
		return nil, fmt.Sprintf("read configuration: %v", err)
	}
	if doc == nil {
		return nil, ""
	}
	cfg, err := config.Parse(doc.Name, doc.Data)
	if err != nil {
		return nil, err.Error()
	}
	trust, err := plan.ReadTrust(cfg)
	if err != nil {
		return nil, err.Error()
	}
	return &plan.Input{Searched: true, Config: cfg, Trust: trust}, ""
}

func (a *Agent) adopt(input *plan.Input, problem string) {
	if problem != a.snapshot().configProblem {
		a.log.Warn("no valid configuration, the node is in maintenance mode", "error", problem)
		a.events.Add(server.EventConfiguration, "configuration", "refused", problem)
	}
	if input != nil {
		a.events.Add(server.EventConfiguration, "configuration", "accepted", "host name "+input.Config.Machine.Hostname)
		a.log.Info("configuration accepted", "hostname", input.Config.Machine.Hostname, "cluster", input.Config.Cluster != nil)
	}
	a.update(func(s *snapshot) {
		s.configProblem = problem
		s.input.Searched = true
		if input != nil {
			s.input.Config, s.input.Trust = input.Config, input.Trust
		}
	})
}
