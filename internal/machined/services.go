package machined

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cyvive/cyvive/internal/container"
	"github.com/cyvive/cyvive/internal/extension"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/supervise/control"
)

// servicesAPI implements server.Services.
type servicesAPI struct{ a *Agent }

func (v servicesAPI) Services(ctx context.Context) ([]server.Service, error) {
	list, err := v.a.cfg.Init.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("list services: %w: %w", server.ErrUnavailable, err)
	}
	var out []server.Service
	for _, s := range list {
		out = append(out, server.Service{
			Name: s.Name, Reason: initReason(s), State: serviceState(s.State), PID: uint32(s.PID), Restarts: uint32(s.Restarts), LastExit: s.LastExit, Since: s.Since,
		})
	}
	infos, err := listAll(ctx, v.a.cfg.System, v.a.cfg.Plane)
	if err != nil {
		return nil, err
	}
	for _, name := range v.a.cfg.Held.Names() {
		if !slices.ContainsFunc(infos, func(i container.Info) bool { return i.Name == name }) {
			infos = append(infos, container.Info{Name: name})
		}
	}
	slices.SortStableFunc(infos, func(a, b container.Info) int { return startRank(a.Name) - startRank(b.Name) })
	for _, i := range infos {
		s := containerService(i)
		if slices.Contains(v.a.cfg.Held.Names(), i.Name) && s.State != server.ServiceRunning {
			s.State, s.Reason = server.ServiceStopped, heldReason(i.Name)
		}
		out = append(out, s)
	}
	if v.a.cfg.Programs == nil {
		return out, nil
	}
	programs, err := v.a.cfg.Programs()
	if err != nil {
		return nil, err
	}
	return append(out, programs...), nil
}

// startRank orders the containers of the node as they are started; others come after them.
func startRank(name string) int {
	order := []string{"etcd", "kube-apiserver", planeService, "kube-controller-manager", "kube-scheduler", "csi-controllers"}
	if i := slices.Index(order, name); i >= 0 {
		return i
	}
	return len(order)
}

func containerService(i container.Info) server.Service {
	s := server.Service{Name: i.Name, Restarts: uint32(i.Restarts), Since: i.StartedAt}
	switch i.State {
	case container.Running, container.Paused:
		s.State, s.PID = server.ServiceRunning, i.PID
	case container.Created:
		s.State = server.ServiceStarting
	default:
		s.State, s.Since = server.ServiceFailed, i.ExitedAt
	}
	if !i.ExitedAt.IsZero() {
		s.LastExit = fmt.Sprintf("exit code %d", i.ExitCode)
	}
	if s.State == server.ServiceFailed && !i.NextStart.IsZero() {
		s.Reason = fmt.Sprintf("%s; the next start is at %s", s.LastExit, i.NextStart.UTC().Format(time.TimeOnly))
	}
	return s
}

func serviceState(s string) server.ServiceState {
	switch s {
	case "running":
		return server.ServiceRunning
	case "stopping":
		return server.ServiceStopping
	case "waiting":
		return server.ServiceFailed
	}
	return server.ServiceStopped
}

// initReason says why a service of init does not run.
func initReason(s control.Service) string {
	if s.State == "waiting" {
		return s.LastExit
	}
	return ""
}

const (
	agentService      = "machined"
	containerdService = "containerd"
	planeService      = "plane"
	// answerTime is how long the agent goes on before it is restarted, so that
	// the caller hears of it.
	answerTime = 300 * time.Millisecond
	// programPoll is the time between two looks at a program that is to end.
	programPoll = 100 * time.Millisecond
)

// heldReason is what health and service list say of a stopped service.
func heldReason(name string) string {
	return fmt.Sprintf("%s was stopped on request: `nodectl service start %s` starts it, or the next boot", name, name)
}

// serviceKind is what a service is, and so how it is stopped.
type serviceKind int

const (
	ofInit serviceKind = iota + 1
	ofRuntime
	ofPlane
)

// kind finds a service by its name.
func (v servicesAPI) kind(ctx context.Context, name string) (serviceKind, error) {
	v.a.ending.mu.Lock()
	ending := v.a.ending.asked
	v.a.ending.mu.Unlock()
	if ending {
		return 0, fmt.Errorf("%w: the machine is going down", server.ErrPrecondition)
	}
	if name == agentService || name == containerdService {
		return ofInit, nil
	}
	services, err := v.Services(ctx)
	if err != nil {
		return 0, err
	}
	var names []string
	for _, s := range services {
		names = append(names, s.Name)
	}
	if !slices.Contains(names, name) {
		return 0, fmt.Errorf("service %q %w: there are %v", name, server.ErrNotFound, names)
	}
	if v.a.cfg.Programs != nil {
		programs, err := v.a.cfg.Programs()
		if err != nil {
			return 0, err
		}
		if slices.ContainsFunc(programs, func(s server.Service) bool { return s.Name == name }) {
			return ofPlane, nil
		}
	}
	return ofRuntime, nil
}

// StopService implements server.Services.
func (v servicesAPI) StopService(ctx context.Context, name string) error {
	kind, err := v.kind(ctx, name)
	if err != nil {
		return err
	}
	switch {
	case name == agentService:
		return fmt.Errorf("stop %s: %w: it answers this call, and without it nobody could start it again", name, server.ErrPrecondition)
	case kind == ofInit:
		return fmt.Errorf("stop %s: %w: it starts and stops all other services; restart it, or shut the node down", name, server.ErrPrecondition)
	case kind == ofPlane:
		return fmt.Errorf("stop %s: %w: the workload plane's own init keeps it running; restart it, or stop %q with all that is in it", name, server.ErrPrecondition, planeService)
	}
	if err := v.a.cfg.Held.Add(name); err != nil {
		return err
	}
	v.a.heldChanged()
	return v.end(ctx, name)
}

// StartService implements server.Services.
func (v servicesAPI) StartService(ctx context.Context, name string) error {
	kind, err := v.kind(ctx, name)
	if err != nil || kind == ofPlane {
		return err
	}
	if kind == ofInit {
		return v.a.cfg.Init.Start(ctx, name)
	}
	if err := v.a.cfg.Held.Remove(name); err != nil {
		return err
	}
	v.a.heldChanged()
	return nil
}

// RestartService implements server.Services.
func (v servicesAPI) RestartService(ctx context.Context, name string) error {
	kind, err := v.kind(ctx, name)
	switch {
	case err != nil:
		return err
	case name == agentService:
		time.AfterFunc(answerTime, func() {
			if err := v.a.cfg.Init.Restart(context.Background(), name); err != nil {
				v.a.log.Error("restart the agent", "error", err)
			}
		})
		return nil
	case kind == ofInit:
		return v.a.cfg.Init.Restart(ctx, name)
	case kind == ofPlane:
		return v.endProgram(ctx, name)
	case slices.Contains(v.a.cfg.Held.Names(), name):
		return v.StartService(ctx, name)
	}
	if err := v.end(ctx, name); err != nil {
		return err
	}
	v.a.heldChanged()
	return nil
}

// end stops a container; the loops start it again if they may.
func (v servicesAPI) end(ctx context.Context, name string) error {
	runtime := v.a.cfg.System
	if name == planeService {
		runtime = v.a.cfg.Plane
	}
	err := runtime.Stop(ctx, name, 0)
	if errors.Is(err, container.ErrUnavailable) {
		return fmt.Errorf("%w: %w", server.ErrUnavailable, err)
	}
	return err
}

// endProgram asks a program of the plane to end, and waits until it has.
func (v servicesAPI) endProgram(ctx context.Context, name string) error {
	find := func() (server.Service, error) {
		programs, err := v.a.cfg.Programs()
		if err != nil {
			return server.Service{}, err
		}
		i := slices.IndexFunc(programs, func(s server.Service) bool { return s.Name == name })
		if i < 0 {
			return server.Service{}, nil // the plane itself has ended
		}
		return programs[i], nil
	}
	before, err := find()
	if err != nil {
		return err
	}
	if before.PID == 0 {
		return fmt.Errorf("restart %s: %w: it does not run, and is about to be started", name, server.ErrPrecondition)
	}
	if err := v.a.cfg.Terminate(before.PID); err != nil {
		return fmt.Errorf("restart %s: %w", name, err)
	}
	for sleep(ctx, programPoll) {
		now, err := find()
		if err != nil || now.PID != before.PID || !now.Since.Equal(before.Since) {
			return err
		}
	}
	return fmt.Errorf("restart %s: it was asked to end and has not yet: %w", name, ctx.Err())
}

// heldChanged takes over what is held, and wakes the loops.
func (a *Agent) heldChanged() {
	held := a.cfg.Held.Names()
	a.update(func(s *snapshot) { s.held = held })
	for _, w := range a.wakers {
		w.Wake()
	}
}

// withHeld makes the checks of what was stopped say so.
func withHeld(checks []server.Check, held []string) []server.Check {
	of := map[string]string{"etcd": "etcd", "kube-apiserver": "kube-apiserver"}
	for _, name := range held {
		part, ok := of[name]
		switch {
		case ok:
		case extension.IsServiceName(name):
			part = extensionsCheck
		default:
			part = "node"
		}
		for i := range checks {
			if checks[i].Name == part {
				checks[i].Healthy, checks[i].Reason = false, heldReason(name)
			}
		}
	}
	return checks
}
