package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"syscall"
	"time"

	"github.com/cyvive/cyvive/internal/machined/supervise/control"
)

// ErrUnknownService is for names that are not in the table.
var ErrUnknownService = errors.New("no such service")

// Service is one line of a Supervisor's table.
type Service struct {
	Name    string
	Command Command // Output is set by the Supervisor
	Policy  Policy
	// Tee gets each line of output besides the log ring, when not nil.
	Tee func(line []byte)
}

// Supervisor keeps services in the state asked for. Its methods may be called
// from any goroutine once Run was called.
type Supervisor struct {
	reaper *Reaper
	logs   *Logs
	log    *slog.Logger
	units  []*unit
}

// New makes a Supervisor of a fixed table. Nothing is started.
func New(r *Reaper, logs *Logs, log *slog.Logger, table []Service) *Supervisor {
	s := &Supervisor{reaper: r, logs: logs, log: log}
	for _, t := range table {
		s.units = append(s.units, newUnit(s, t))
	}
	return s
}

// Run works until ctx ends. It leaves the services running.
func (s *Supervisor) Run(ctx context.Context) {
	for _, u := range s.units[1:] {
		go u.run(ctx)
	}
	s.units[0].run(ctx)
}

// Start starts a service and returns once it runs, or could not be started.
func (s *Supervisor) Start(ctx context.Context, name string) error {
	return s.ask(ctx, name, StartAsked, Running)
}

// Stop stops a service and returns once it is gone.
func (s *Supervisor) Stop(ctx context.Context, name string) error {
	return s.ask(ctx, name, StopAsked, Stopped)
}

// Restart stops a service where it runs, and starts it.
func (s *Supervisor) Restart(ctx context.Context, name string) error {
	return s.ask(ctx, name, RestartAsked, Running)
}

// Retire has a service not started again, sends it sig if it runs, and
// returns once it is gone. Unlike Stop it has no deadline but that of ctx.
func (s *Supervisor) Retire(ctx context.Context, name string, sig syscall.Signal) error {
	u, err := s.unit(name)
	if err != nil {
		return err
	}
	return u.send(ctx, order{event: RetireAsked, signal: sig, want: Stopped})
}

// Status lists the services in the order of the table.
func (s *Supervisor) Status() []control.Service {
	var list []control.Service
	for _, u := range s.units {
		list = append(list, u.status())
	}
	return list
}

func (s *Supervisor) ask(ctx context.Context, name string, e EventKind, want State) error {
	u, err := s.unit(name)
	if err != nil {
		return err
	}
	return u.send(ctx, order{event: e, want: want})
}

func (s *Supervisor) unit(name string) (*unit, error) {
	for _, u := range s.units {
		if u.service.Name == name {
			return u, nil
		}
	}
	return nil, fmt.Errorf("service %q: %w", name, ErrUnknownService)
}

// spawn starts u's program with its output in the log ring.
func (s *Supervisor) spawn(t Service) (*Process, error) {
	out, err := s.logs.Pipe(t.Name, t.Tee)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	c := t.Command
	c.Output = out
	return s.reaper.Start(c)
}

// until returns a channel that fires at t, never when t is zero.
func until(t time.Time) (<-chan time.Time, func()) {
	if t.IsZero() {
		return nil, func() {}
	}
	timer := time.NewTimer(time.Until(t))
	return timer.C, func() { timer.Stop() }
}
