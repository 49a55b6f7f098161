package machined

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/cyvive/cyvive/internal/kube"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/gate"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/upgrade"
)

// Cluster is the node's cluster, as far as the agent itself has to do with it. *kube.Cluster implements it.
type Cluster interface {
	ServiceAnswers(ctx context.Context, spec kube.Spec, target string) error
	DeploymentAvailable(ctx context.Context, spec kube.Spec, target string) error
	NodeCondition(ctx context.Context, spec kube.Spec, kind string) error
	Elsewhere(ctx context.Context, spec kube.Spec) (bool, error)
	Cordon(ctx context.Context, spec kube.Spec, boot string) error
	Uncordon(ctx context.Context, spec kube.Spec, but string) (bool, error)
	Drain(ctx context.Context, spec kube.Spec, tell func(kube.Drained) error) (kube.Drained, error)
}

const (
	// gatesTrial is the time between two looks at the gates of the configuration while a release is on trial, gatesIdle otherwise: then they are
	// for people to see, and an upgrade looks again before it begins.
	gatesTrial = 5 * time.Second
	gatesIdle  = 30 * time.Second
	// gatePrefix is before the name of such a gate, apart from the names of health checks.
	gatePrefix = "gate "
)

// clusterOf is the cluster with the specification that holds now.
type clusterOf struct {
	Cluster
	spec kube.Spec
}

// ServiceAnswers implements gate.Cluster.
func (c clusterOf) ServiceAnswers(ctx context.Context, target string) error {
	return c.Cluster.ServiceAnswers(ctx, c.spec, target)
}

// DeploymentAvailable implements gate.Cluster.
func (c clusterOf) DeploymentAvailable(ctx context.Context, target string) error {
	return c.Cluster.DeploymentAvailable(ctx, c.spec, target)
}

// NodeCondition implements gate.Cluster.
func (c clusterOf) NodeCondition(ctx context.Context, kind string) error {
	return c.Cluster.NodeCondition(ctx, c.spec, kind)
}

// ownCluster is the cluster, or what it is waited for. What etcd holds of the boot before says nothing of this one, so nobody asks before the node is Ready.
func (a *Agent) ownCluster(s snapshot) (gate.Cluster, string) {
	switch {
	case s.input.Config == nil || s.input.Config.Cluster == nil || a.cfg.Cluster == nil:
		return nil, "the node has no cluster"
	case !s.kube.Status.Ready:
		return nil, "waiting for the node to be Ready"
	}
	return clusterOf{a.cfg.Cluster, *plan.KubeSpec(s.input, s.network.Status.Addresses)}, ""
}

// watchGates looks at the gates of the configuration now and then.
func (a *Agent) watchGates(ctx context.Context) error {
	for {
		a.lookAtGates(ctx)
		pause := gatesIdle
		if s := a.snapshot(); s.upgrade == nil || s.upgrade.Record.Stage == upgrade.Trial || len(s.configGates()) != len(s.gates) {
			pause = gatesTrial
		}
		if !sleep(ctx, pause) {
			return ctx.Err()
		}
	}
}

// lookAtGates brings what is known of the gates of the configuration up to date.
func (a *Agent) lookAtGates(ctx context.Context) {
	a.looking.Lock()
	defer a.looking.Unlock()
	s := a.snapshot()
	wanted := s.configGates()
	if len(wanted) == 0 && len(s.gates) == 0 {
		return
	}
	cluster, waiting := a.ownCluster(s)
	found := gate.Look(ctx, wanted, cluster, waiting)
	if ctx.Err() != nil {
		return
	}
	fresh := datedGates(s.gates, found, a.now())
	if !reflect.DeepEqual(fresh, s.gates) {
		a.update(func(s *snapshot) { s.gates = fresh })
	}
}

// gatePause is the time between two looks of settledGates.
const gatePause = time.Second

// currentGates looks at the gates of the configuration, and returns all gates.
func (a *Agent) currentGates(ctx context.Context) []upgrade.Gate {
	a.lookAtGates(ctx)
	return gates(a.snapshot())
}

// settledGates are the gates as they are when an upgrade begins. What does not hold then, nor when all is written, is not asked of the new release, so it is
// given some time to: a busy moment, as the push of a release brings, is not to spare a bad one the look at what it breaks. Nor is the start of the node.
func (a *Agent) settledGates(ctx context.Context) ([]upgrade.Gate, error) {
	until := time.Now().Add(a.cfg.Pace.GateGrace)
	for {
		found := a.currentGates(ctx)
		left := time.Until(until)
		if slices.ContainsFunc(found, func(g upgrade.Gate) bool { return !g.Holds }) && left > 0 && sleep(ctx, min(left, gatePause)) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("wait for the gates of an upgrade: %w", err)
		}
		return a.comingUp(found), nil
	}
}

// comingUp has those gates hold of which nothing is known yet: they have not held in this boot, and its deadline is not over. A release is asked for them. After that,
// what is missing is broken.
func (a *Agent) comingUp(found []upgrade.Gate) []upgrade.Gate {
	s := a.snapshot()
	if a.cfg.Timeline.Now() >= s.deadline() {
		return found
	}
	for i, g := range found {
		found[i].Holds = g.Holds || !slices.Contains(s.haveHeld, g.Name)
	}
	return found
}

// withHolding adds the gates that hold now to those that have held.
func withHolding(have []string, now []upgrade.Gate) []string {
	for _, g := range now {
		if g.Holds && !slices.Contains(have, g.Name) {
			have = append(slices.Clip(have), g.Name)
		}
	}
	return have
}

// looked is the last look at a gate of the configuration.
type looked struct {
	gate.Result
	// since is when the result last changed.
	since time.Time
}

func datedGates(old []looked, found []gate.Result, now time.Time) []looked {
	var out []looked
	for _, r := range found {
		l := looked{r, now}
		if i := slices.Index(results(old), r); i >= 0 {
			l.since = old[i].since
		}
		out = append(out, l)
	}
	return out
}

func results(list []looked) []gate.Result {
	var out []gate.Result
	for _, l := range list {
		out = append(out, l.Result)
	}
	return out
}

// configGates are the gates of the configuration in force.
func (s snapshot) configGates() []config.Gate {
	if s.input.Config == nil {
		return nil
	}
	return s.input.Config.Machine.Upgrade.Gates
}

// extraGates are the gates of the configuration, as gates of a release. One that was not looked at yet does not hold.
func (s snapshot) extraGates() []upgrade.Gate {
	var out []upgrade.Gate
	for _, g := range s.configGates() {
		one := upgrade.Gate{Name: gatePrefix + g.Name, Reason: "not looked at yet"}
		if i := slices.IndexFunc(s.gates, func(l looked) bool { return l.Gate == g }); i >= 0 {
			one.Holds, one.Reason, one.Since = s.gates[i].Reason == "", s.gates[i].Reason, s.gates[i].since
		}
		out = append(out, one)
	}
	return out
}
