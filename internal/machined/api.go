package machined

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/cyvive/cyvive/internal/container"
	"github.com/cyvive/cyvive/internal/kube"
	"github.com/cyvive/cyvive/internal/machined/ledger"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/supervise/control"
	"github.com/cyvive/cyvive/internal/machined/upgrade"
)

// machineAPI implements server.Machine.
type machineAPI struct{ a *Agent }

func (m machineAPI) Version(context.Context) (server.Version, error) {
	return m.a.cfg.Boot.Version, nil
}

func (m machineAPI) Health(context.Context) ([]server.Check, error) {
	return slices.Clone(m.a.snapshot().checks), nil
}

func (m machineAPI) Node(context.Context) (server.Node, error) {
	s := m.a.snapshot()
	hostname, err := os.Hostname()
	if err != nil {
		return server.Node{}, fmt.Errorf("read host name: %w", err)
	}
	n := server.Node{
		Hostname: hostname, Addresses: s.network.Status.Addresses, Role: server.RoleStandalone,
		BootID: m.a.cfg.Boot.ID, BootedAt: m.a.cfg.Boot.StartedAt,
	}
	if cfg := s.input.Config; cfg != nil && cfg.Cluster != nil {
		n.Role, n.ClusterName = server.RoleControlPlane, cfg.Cluster.Name
	}
	return n, nil
}

func (m machineAPI) Reboot(ctx context.Context) error {
	reason := "reboot over the API"
	if u := m.a.snapshot().upgrade; u != nil && u.Record.Stage == upgrade.Armed {
		reason += ", into version " + u.Record.Target.Version
	}
	return m.a.end(ctx, control.Reboot, reason)
}

func (m machineAPI) Shutdown(ctx context.Context) error {
	return m.a.end(ctx, control.PowerOff, "power-off over the API")
}

// containersAPI implements server.Containers.
type containersAPI struct{ a *Agent }

// containersTime is how long a runtime may take to list its containers for a caller:
// shorter than callers wait, so that one that never answers, as whoever has taken the
// workload plane's over may, does not keep them from seeing the others'.
const containersTime = 8 * time.Second

func (v containersAPI) Containers(ctx context.Context) ([]server.Container, error) {
	ctx, cancel := context.WithTimeout(ctx, containersTime)
	defer cancel()
	infos, err := listAll(ctx, v.a.cfg.System, v.a.cfg.Plane, v.a.cfg.Pods)
	if err != nil && len(infos) == 0 {
		return nil, err
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", server.ErrIncomplete, err)
	}
	states := map[container.State]server.ContainerState{
		container.Created: server.ContainerCreated, container.Running: server.ContainerRunning,
		container.Paused: server.ContainerPaused, container.Exited: server.ContainerStopped, container.Unknown: server.ContainerStopped,
	}
	var out []server.Container
	for _, i := range infos {
		out = append(out, server.Container{
			Namespace: i.Namespace, Name: i.Name, ID: i.ID, Image: i.Image, Pod: i.Pod, PodNamespace: i.PodNamespace, PID: i.PID,
			State: states[i.State], StartedAt: i.StartedAt, ExitCode: i.ExitCode, Restarts: uint32(i.Restarts),
		})
	}
	return out, err
}

// listAll joins the containers of several namespaces, which are asked all at once. A runtime that does not answer contributes none. One that answers with an error, as whoever has
// taken the workload plane's over may, does not either, and the error comes with the containers of the others.
func listAll(ctx context.Context, runtimes ...container.Runtime) ([]container.Info, error) {
	lists, errs := make([][]container.Info, len(runtimes)), make([]error, len(runtimes))
	var asked sync.WaitGroup
	for i, r := range runtimes {
		asked.Go(func() {
			infos, err := r.List(ctx)
			lists[i] = infos
			if !errors.Is(err, container.ErrUnavailable) {
				errs[i] = err
			}
		})
	}
	asked.Wait()
	return slices.Concat(lists...), errors.Join(errs...)
}

// bootsAPI implements server.Boots.
type bootsAPI struct{ a *Agent }

func (v bootsAPI) Boots(context.Context) ([]server.Boot, error) {
	b := v.a.cfg.Boot
	current := server.Boot{
		ID: b.ID, StartedAt: b.StartedAt, End: server.BootRunning, Uptime: v.a.cfg.Timeline.Now(), Version: b.Version.OS, Slot: b.Version.Slot,
		Milestones: convert(v.a.timeline()),
	}
	out := []server.Boot{current}
	l := v.a.history.get()
	if l == nil {
		return out, nil
	}
	boots := l.Boots()
	slices.Reverse(boots)
	ends := map[ledger.End]server.BootEnd{ledger.Running: server.BootRunning, ledger.Clean: server.BootClean, ledger.Unclean: server.BootUnclean}
	for _, e := range boots {
		if e.ID == b.ID {
			out[0].Reason = e.Reason
			continue
		}
		out = append(out, server.Boot{
			ID: e.KernelID(), StartedAt: e.StartedAt, End: ends[e.End], Uptime: e.LastSeen.Sub(e.StartedAt), Version: e.Version, Slot: e.Slot,
			Milestones: convert(e.Milestones), Reason: e.Reason,
		})
	}
	return out, nil
}

func convert(list []ledger.Milestone) []server.Milestone {
	var out []server.Milestone
	for _, m := range list {
		out = append(out, server.Milestone{Name: m.Name, Since: m.Since})
	}
	return out
}

// kubeAPI implements server.Kube.
type kubeAPI struct{ a *Agent }

func (v kubeAPI) Kubeconfig(context.Context) (server.Kubeconfig, error) {
	s := v.a.snapshot()
	if s.input.Config == nil || s.input.Config.Cluster == nil {
		return server.Kubeconfig{}, fmt.Errorf("make kubeconfig: %w: the node's configuration has no Cluster document", server.ErrPrecondition)
	}
	now := v.a.now()
	yaml, err := kube.AdminKubeconfig(*plan.KubeSpec(s.input, s.network.Status.Addresses), "admin", now)
	if err != nil {
		return server.Kubeconfig{}, err
	}
	return server.Kubeconfig{YAML: yaml, ClusterName: s.input.Config.Cluster.Name, ExpiresAt: now.Add(kube.AdminLifetime)}, nil
}
