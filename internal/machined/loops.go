package machined

import (
	"context"
	"fmt"
	"time"

	"github.com/cyvive/cyvive/internal/etcd"
	extservice "github.com/cyvive/cyvive/internal/extension/service"
	"github.com/cyvive/cyvive/internal/kube"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/reconcile"
	"github.com/cyvive/cyvive/internal/machined/state"
	"github.com/cyvive/cyvive/internal/network"
	"github.com/cyvive/cyvive/internal/storage"
)

const (
	// hostResync covers events of the kernel that were lost.
	hostResync = time.Minute
	// containerResync is how soon a change is seen of which no event tells: a program that runs on and is not well. Starts and ends wake the
	// loops, and one that is not settled polls.
	containerResync = 30 * time.Second
)

// loopTasks returns the loops of the domains. That of storage waits for what has to be done before a volume is mounted.
func (a *Agent) loopTasks() []task {
	tasks := []task{
		loopTask(a, a.cfg.Network, plan.Network, hostResync,
			func(d plan.Desired) *network.Spec { return d.Network },
			func(s *snapshot, r state.Report[network.Status]) { s.network = r },
			func(s network.Status) bool { return s.Ready }),
		loopTask(a, a.cfg.Storage, plan.Storage, hostResync,
			func(d plan.Desired) *storage.Spec { return d.Storage },
			func(s *snapshot, r state.Report[storage.Status]) { s.storage = r },
			func(s storage.Status) bool { return s.Ready }),
		loopTask(a, a.cfg.Etcd, plan.Etcd, containerResync,
			func(d plan.Desired) *etcd.Spec { return d.Etcd },
			func(s *snapshot, r state.Report[etcd.Status]) { s.etcd = r },
			func(s etcd.Status) bool { return s.Ready }),
		loopTask(a, a.cfg.Kube, plan.Kubernetes, containerResync,
			func(d plan.Desired) *kube.Spec { return d.Kube },
			func(s *snapshot, r state.Report[kube.Status]) { s.kube = r },
			func(s kube.Status) bool { return s.Ready }),
		loopTask(a, a.cfg.ExtensionServices, plan.Extensions, containerResync,
			func(d plan.Desired) *extservice.Spec { return d.Extensions },
			func(s *snapshot, r state.Report[extservice.Status]) { s.extensionServices = r },
			func(s extservice.Status) bool { return s.Ready }),
	}
	storageLoop := tasks[1].run
	tasks[1].run = func(ctx context.Context) error {
		if a.cfg.Installs != nil {
			if err := a.cfg.Installs.Started(); err != nil {
				a.log.Error("note that the disk is in use", "error", err)
			}
		}
		if err := a.beforeVolumes(ctx); err != nil {
			return err
		}
		return storageLoop(ctx)
	}
	return tasks
}

// loopTask ties the loop of one domain to the snapshot. More may change how the loop runs.
func loopTask[Spec, Observed any, Op fmt.Stringer, Status any](
	a *Agent, domain reconcile.Domain[Spec, Observed, Op, Status], name string, resync time.Duration,
	spec func(plan.Desired) *Spec, publish func(*snapshot, state.Report[Status]), settled func(Status) bool, more ...func(*reconcile.Config[Spec, Status]),
) task {
	ask := make(chan func(context.Context))
	a.views[name], a.asks[name] = viewOf(domain, ask, spec), ask
	return task{"loop " + name, func(ctx context.Context) error {
		cfg := reconcile.Config[Spec, Status]{
			Name: name, Log: a.log, Wake: a.wakers[name], Ask: ask, Resync: resync, Settled: settled,
			Desired: func() reconcile.Desired[Spec] {
				s := a.snapshot()
				return reconcile.Desired[Spec]{Generation: s.generation, Spec: spec(s.desired), Waits: s.desired.Waits[name]}
			},
			Publish: func(r state.Report[Status]) { a.update(func(s *snapshot) { publish(s, r) }) },
		}
		for _, change := range more {
			change(&cfg)
		}
		return reconcile.Run(ctx, domain, cfg)
	}}
}
