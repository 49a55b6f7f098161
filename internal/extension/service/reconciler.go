package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/container"
	"github.com/cyvive/cyvive/internal/extension"
)

// Observed is what the domain finds on the node.
type Observed struct {
	Now time.Time
	// Containers are those of services of extensions, wanted or not.
	Containers []container.Info
	// Held are the names of containers that are not to be started now.
	Held []string
	// Failed says of services that could not be started, or ended, lately why not. They are left alone for a while.
	Failed map[string]string
	// Unavailable is set when the container runtime does not answer.
	Unavailable bool
}

// Config is what a Reconciler is made of.
type Config struct {
	// Containers is the runtime of the system plane.
	Containers container.Runtime
	Layout     Layout
	// Held names the containers that are not to be started now; nil: none.
	Held func() []string
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Reconciler is the domain. Its methods are called from one goroutine.
type Reconciler struct {
	cfg    Config
	failed map[string]failure
}

// failure is that a service could not be started, or ended.
type failure struct {
	reason string
	until  time.Time
}

// retry is how long a service is left alone after that.
const retry = 10 * time.Second

// New returns the domain.
func New(c Config) *Reconciler {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Held == nil {
		c.Held = func() []string { return nil }
	}
	return &Reconciler{cfg: c, failed: map[string]failure{}}
}

// Observe looks at the containers.
func (r *Reconciler) Observe(ctx context.Context, _ Spec) (Observed, error) {
	obs := Observed{Now: r.cfg.Now(), Held: r.cfg.Held(), Failed: map[string]string{}}
	for name, f := range r.failed {
		if obs.Now.Before(f.until) {
			obs.Failed[name] = f.reason
		}
	}
	list, err := r.cfg.Containers.List(ctx)
	if errors.Is(err, container.ErrUnavailable) {
		obs.Unavailable = true
		return obs, nil
	}
	if err != nil {
		return Observed{}, err
	}
	obs.Containers = slices.DeleteFunc(list, func(i container.Info) bool { return !extension.IsServiceName(i.Name) })
	return obs, nil
}

// Op is one operation: Run, or the end of what is not wanted.
type Op struct {
	// Name is the container's.
	Name string
	Run  bool
}

// String says what the operation does.
func (o Op) String() string {
	if o.Run {
		return "run container " + o.Name
	}
	return "stop container " + o.Name
}

// Diff returns what leads from obs to spec. It is pure.
func (r *Reconciler) Diff(spec Spec, obs Observed) []Op {
	if obs.Unavailable {
		return nil
	}
	wanted := map[string]container.Spec{}
	for _, s := range spec.Services {
		c := r.cfg.Layout.container(s)
		wanted[c.Name] = c
	}
	var ops []Op
	for _, i := range obs.Containers {
		if _, ok := wanted[i.Name]; !ok && obs.Failed[i.Name] == "" {
			ops = append(ops, Op{Name: i.Name})
		}
	}
	for _, s := range spec.Services {
		name := extension.ServiceName(s.Extension)
		if slices.Contains(obs.Held, name) || obs.Failed[name] != "" {
			continue
		}
		at := slices.IndexFunc(obs.Containers, func(i container.Info) bool { return i.Name == name })
		if at < 0 || obs.Containers[at].Hash != wanted[name].Hash() || obs.Containers[at].NeedsStart(obs.Now) {
			ops = append(ops, Op{Name: name, Run: true})
		}
	}
	return ops
}

// Apply carries out one operation. That a service cannot be started, or ended, is not its error, but in Status: others follow.
func (r *Reconciler) Apply(ctx context.Context, spec Spec, op Op) error {
	if !op.Run {
		return r.note(ctx, op.Name, r.cfg.Containers.Stop(ctx, op.Name, 0))
	}
	for _, s := range spec.Services {
		if extension.ServiceName(s.Extension) != op.Name {
			continue
		}
		return r.note(ctx, op.Name, r.run(ctx, s))
	}
	return fmt.Errorf("apply %s: there is no such service", op)
}

// note remembers what a service failed with. It returns the error of what keeps all of them from their turn.
func (r *Reconciler) note(ctx context.Context, name string, err error) error {
	delete(r.failed, name)
	switch {
	case errors.Is(err, container.ErrUnavailable) || ctx.Err() != nil:
		return err
	case err != nil:
		r.failed[name] = failure{err.Error(), r.cfg.Now().Add(retry)}
	}
	return nil
}

func (r *Reconciler) run(ctx context.Context, s Service) error {
	if s.Data {
		if err := makeData(r.cfg.Layout.data(s), int(s.User)); err != nil {
			return err
		}
	}
	return r.cfg.Containers.Ensure(ctx, r.cfg.Layout.container(s))
}

// makeData makes the directory of a service, which is its own.
func makeData(dir string, user int) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	if os.Geteuid() != 0 {
		return nil
	}
	if err := os.Chown(dir, user, user); err != nil {
		return fmt.Errorf("give data directory to user %d: %w", user, err)
	}
	return nil
}

// Status is what the domain found.
type Status struct {
	// Ready says that all services run that are wanted.
	Ready bool
	// Reason says in words what Ready waits for; empty when Ready.
	Reason string
}

// Status sums up an observation. It is pure.
func (r *Reconciler) Status(spec Spec, obs Observed) Status {
	if obs.Unavailable && len(spec.Services) > 0 {
		return Status{Reason: "waiting for the system container runtime to answer"}
	}
	var reasons []string
	for _, s := range spec.Services {
		name := extension.ServiceName(s.Extension)
		if reason := r.waits(s, name, obs); reason != "" {
			reasons = append(reasons, name+": "+reason)
		}
	}
	for _, i := range obs.Containers {
		wanted := slices.ContainsFunc(spec.Services, func(s Service) bool { return extension.ServiceName(s.Extension) == i.Name })
		if failed := obs.Failed[i.Name]; !wanted && failed != "" {
			reasons = append(reasons, fmt.Sprintf("%s: it is not to run any more, and does not end: %s", i.Name, failed))
		}
	}
	return Status{Ready: len(reasons) == 0, Reason: strings.Join(reasons, "; ")}
}

// waits says why a service does not run; empty if it does.
func (r *Reconciler) waits(s Service, name string, obs Observed) string {
	at := slices.IndexFunc(obs.Containers, func(i container.Info) bool { return i.Name == name })
	switch {
	case obs.Failed[name] != "":
		return obs.Failed[name]
	case slices.Contains(obs.Held, name):
		return fmt.Sprintf("it was stopped on request: `nodectl service start %s` starts it, or the next boot", name)
	case at < 0:
		return "it is about to be started"
	}
	switch c := obs.Containers[at]; {
	case c.State == container.Exited:
		reason := fmt.Sprintf("it exited with code %d", c.ExitCode)
		if wait := c.NextStart.Sub(obs.Now); wait > 0 {
			reason += fmt.Sprintf(", next start in %s", wait.Round(time.Second))
		}
		return reason
	case c.State != container.Running:
		return "it is " + c.State.String()
	case c.Hash != r.cfg.Layout.container(s).Hash():
		return "it is about to be replaced"
	}
	return ""
}
