package kube

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/cyvive/cyvive/internal/container"
)

// Status is what the domain found.
type Status struct {
	// Ready is NodeReady with every container of the spec running.
	Ready bool
	// Reason says in words what Ready waits for; empty when Ready.
	Reason string
	// APIServerReady is the API server's own /readyz; APIServerServes says that it
	// answers at all, as it does some time before.
	APIServerReady, APIServerServes bool
	// PlaneUp says that the workload plane's container runtime answers; PodNetwork that
	// the CNI configuration is there for it.
	PlaneUp, PodNetwork bool
	// NodeReady is the Ready condition of this node's Node object, as the
	// kubelet of the running plane reported it.
	NodeReady bool
	// PodCIDR is the part of the cluster's that this node got; the zero
	// Prefix until then.
	PodCIDR netip.Prefix
	// PodsRunning counts this node's pods that are in phase Running and were
	// started in the running plane.
	PodsRunning int
	// Services are the containers of Kubernetes, in start order.
	Services []Service
}

// Service is one container of Kubernetes.
type Service struct {
	Name string
	// State is in words: running, exited, waiting, …
	State    string
	Restarts int
}

// Status sums up an observation. It is pure.
func (r *Reconciler) Status(spec Spec, obs Observed) Status {
	s := Status{
		APIServerReady: obs.API.Ready, APIServerServes: obs.API.Serves || obs.API.Ready,
		PlaneUp: obs.PlaneUp, PodNetwork: obs.PodNetwork,
	}
	if n := obs.API.Node; n != nil {
		s.NodeReady = nodeReady(obs)
		s.PodCIDR = n.PodCIDR
	}
	for _, start := range obs.API.PodStarts {
		if sincePlane(obs, start) {
			s.PodsRunning++
		}
	}
	all := r.all(spec)
	for _, c := range all {
		info, exists := obs.Containers[c.Name]
		service := Service{Name: c.Name, State: "waiting", Restarts: info.Restarts}
		if exists {
			service.State = info.State.String()
		}
		s.Services = append(s.Services, service)
	}
	s.Reason = reason(all, obs)
	s.Ready = s.Reason == ""
	return s
}

// nodeReady reports whether the kubelet of the running plane says that the node is Ready.
func nodeReady(obs Observed) bool {
	n := obs.API.Node
	return n != nil && n.Ready && sincePlane(obs, n.Heartbeat)
}

// sincePlane reports whether t, which Kubernetes gives in whole seconds, lies in
// the life of the running plane. What etcd holds of the time before, such as a
// node that was Ready at the last shutdown, says nothing of now.
func sincePlane(obs Observed, t time.Time) bool {
	return obs.Containers[plane].State == container.Running && !t.Before(obs.PlaneSince.Truncate(time.Second))
}

// reason says what comes first of all that is awaited; empty if nothing is.
func reason(all []container.Spec, obs Observed) string {
	if obs.Unavailable {
		return "the system container runtime to answer"
	}
	for _, c := range all {
		if why := containerReason(c, obs); why != "" {
			return why
		}
		if c.Name == apiServer && !obs.API.Ready {
			return "kube-apiserver to be ready: " + obs.APIProblem
		}
	}
	n := obs.API.Node
	switch {
	case obs.PlaneProblem != "":
		return "the container runtime of the workload plane to answer: " + obs.PlaneProblem
	case !obs.PlaneUp:
		return "the container runtime of the workload plane to answer"
	case obs.ImportProblem != "":
		return "the images of the default bundle to be imported: " + obs.ImportProblem
	case len(obs.ImagesMissing) > 0:
		return "the images of the default bundle to be imported"
	case n == nil && obs.APIProblem != "":
		return "kube-apiserver to answer: " + obs.APIProblem
	case n == nil:
		return "kubelet to register the node"
	case !sincePlane(obs, n.Heartbeat):
		return "kubelet to report the node's state"
	case !n.PodCIDR.IsValid():
		return "kube-controller-manager to give the node its pod range"
	case !n.Ready && n.Message != "":
		return "the node to be Ready: " + n.Message
	case !n.Ready:
		return "the node to be Ready"
	}
	return ""
}

func containerReason(c container.Spec, obs Observed) string {
	info, exists := obs.Containers[c.Name]
	switch {
	case !exists:
		return fmt.Sprintf("container %s to be started", c.Name)
	case info.State == container.Exited:
		why := fmt.Sprintf("container %s to be started again: it exited with %d", c.Name, info.ExitCode)
		if wait := info.NextStart.Sub(obs.Now); wait > 0 {
			why += fmt.Sprintf(", next start in %s", wait.Round(time.Second))
		}
		return why
	case info.State != container.Running:
		return fmt.Sprintf("container %s to run: it is %s", c.Name, info.State)
	case info.Hash != c.Hash():
		return fmt.Sprintf("container %s to be replaced", c.Name)
	case obs.Silent[c.Name] >= silentSaid:
		return fmt.Sprintf("%s to answer, which it has not for %s", c.Name, obs.Silent[c.Name].Round(time.Second))
	}
	return ""
}
