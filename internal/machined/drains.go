package machined

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/kube"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/upgrade"
)

// uncordonRetry is the time until the node asks again to take pods, when that failed.
const uncordonRetry = 15 * time.Second

// Drain implements server.Kube. It is best effort: what goes wrong is told as an outcome. It acts with the agent's own rights in the cluster, which are an
// administrator's on a control-plane node. A kubelet's certificate would do for all but the look at other nodes: the role system:node may create evictions, and
// the admission plugin NodeRestriction lets a node have them for the pods that are bound to it, and change its own object but for taints and some labels
// (Kubernetes 1.36, bootstrappolicy/policy.go and admission/noderestriction).
func (v kubeAPI) Drain(ctx context.Context, o server.DrainOptions, progress func(server.DrainProgress) error) (server.DrainOutcome, error) {
	a := v.a
	if !a.draining.TryLock() {
		return server.DrainOutcome{}, fmt.Errorf("drain: %w: another drain is at work", server.ErrPrecondition)
	}
	defer a.draining.Unlock()
	ctx, cancel := context.WithTimeout(ctx, o.Deadline)
	defer cancel()
	spec, why := a.drainable(ctx, o)
	if why != "" {
		return server.DrainOutcome{Result: server.DrainSkipped, Reason: why}, nil
	}
	if err := a.cfg.Cluster.Cordon(ctx, *spec, a.cfg.Boot.ID); err != nil {
		return server.DrainOutcome{Result: server.DrainSkipped, Reason: "the node cannot be kept from new pods: " + err.Error()}, nil
	}
	a.log.Info("the node takes no more pods, and those that it has are moved", "deadline", o.Deadline)
	d, err := a.cfg.Cluster.Drain(ctx, *spec, func(d kube.Drained) error {
		return progress(server.DrainProgress{Gone: d.Gone, Remaining: d.Remaining, Waiting: d.Waiting})
	})
	if err != nil {
		return server.DrainOutcome{}, fmt.Errorf("drain: %w", err)
	}
	out := server.DrainOutcome{Result: server.DrainComplete, Gone: d.Gone, Remaining: d.Remaining}
	if len(d.Stays) > 0 {
		out.Reason = "left on the node, since nothing would make them anew: " + strings.Join(d.Stays, ", ")
	}
	if ctx.Err() != nil {
		out.Result, out.Reason = server.DrainPartial, fmt.Sprintf("the deadline of %s is over: %s", o.Deadline, first(d.Waiting, "the API server has not answered"))
	}
	a.log.Info("the pods were moved", "gone", out.Gone, "remaining", out.Remaining, "reason", out.Reason)
	return out, nil
}

// drainable is the cluster's specification, or why there is nothing to be drained.
func (a *Agent) drainable(ctx context.Context, o server.DrainOptions) (*kube.Spec, string) {
	s := a.snapshot()
	switch {
	case s.input.Config == nil || s.input.Config.Cluster == nil || a.cfg.Cluster == nil:
		return nil, "the node runs no pods: it has no cluster"
	case !s.kube.Status.APIServerReady:
		return nil, "the API server does not answer: " + first(s.kube.Status.Reason, s.kube.Held, "it was not looked at yet")
	}
	spec := plan.KubeSpec(s.input, s.network.Status.Addresses)
	if o.Alone {
		return spec, ""
	}
	switch elsewhere, err := a.cfg.Cluster.Elsewhere(ctx, *spec); {
	case err != nil:
		return nil, "the other nodes are not known: " + err.Error()
	case !elsewhere:
		return nil, "no other node of the cluster takes pods: each other one is cordoned or not Ready, or there is none"
	}
	return spec, ""
}

// Uncordon implements server.Kube.
func (v kubeAPI) Uncordon(ctx context.Context) (bool, error) {
	s := v.a.snapshot()
	switch {
	case s.input.Config == nil || s.input.Config.Cluster == nil || v.a.cfg.Cluster == nil:
		return false, fmt.Errorf("uncordon: %w: the node has no cluster", server.ErrPrecondition)
	case !s.kube.Status.APIServerReady:
		return false, fmt.Errorf("uncordon: %w: the API server does not answer", server.ErrUnavailable)
	}
	return v.a.cfg.Cluster.Uncordon(ctx, *plan.KubeSpec(s.input, s.network.Status.Addresses), "")
}

// keepUncordoned has pods placed on the node again that an earlier boot of it has kept away, once: after a reboot, when a new release has proven itself or
// lacks only what pods may bring, and when the old one is back. A cordon of anybody else's stays, and so does one of this boot, which is about to end.
func (a *Agent) keepUncordoned(ctx context.Context) error {
	if a.cfg.Cluster == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	settled := false
	return a.whenever(ctx, func(s snapshot) bool { return !settled && s.settled() }, func(s snapshot) {
		done, err := a.cfg.Cluster.Uncordon(ctx, *plan.KubeSpec(s.input, s.network.Status.Addresses), a.cfg.Boot.ID)
		switch {
		case err != nil:
			a.log.Warn("have pods placed on the node again", "error", err)
			sleep(ctx, uncordonRetry)
			a.update(func(*snapshot) {}) // another look
			return
		case done:
			a.log.Info("the node takes pods again, which it did not since it was drained")
		}
		settled = true
	})
}

// settled tells whether the node is Ready, in a release that stays or that waits for nothing but pods.
func (s snapshot) settled() bool {
	if s.input.Config == nil || s.input.Config.Cluster == nil || !s.kube.Status.Ready || s.upgradable && s.upgrade == nil {
		return false
	}
	if s.upgrade == nil {
		return true
	}
	switch s.upgrade.Record.Stage {
	case upgrade.Reverting:
		return false
	case upgrade.Trial:
		return s.mayWaitForPods()
	}
	return true
}

// mayWaitForPods tells whether nothing is missing of a trial but gates of the configuration: what they look at may run on this node only, and would not
// come as long as it takes no pods.
func (s snapshot) mayWaitForPods() bool {
	missing := false
	for _, g := range gates(s) {
		if g.Holds || slices.Contains(s.upgrade.Record.Waived, g.Name) {
			continue
		}
		if !strings.HasPrefix(g.Name, gatePrefix) {
			return false
		}
		missing = true
	}
	return missing
}
