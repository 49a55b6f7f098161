package etcd

import (
	"fmt"
	"time"

	"github.com/cyvive/cyvive/internal/container"
)

// Status is what the domain found.
type Status struct {
	// Ready is Healthy, by a member that runs as the spec says.
	Ready bool
	// Reason says in words what Ready waits for; empty when Ready.
	Reason string
	// Running says that the container runs.
	Running bool
	// Healthy is the member's own answer: it has a leader and serves.
	Healthy bool
	// Restarts counts the container's starts after the first.
	Restarts int
}

// Status sums up an observation. It is pure.
func (r *Reconciler) Status(spec Spec, obs Observed) Status {
	var s Status
	c := obs.Container
	if c != nil {
		s.Running = c.State == container.Running
		s.Restarts = c.Restarts
	}
	s.Healthy = s.Running && obs.Problem == ""
	s.Ready = s.Healthy && c.Hash == member(spec, r.layout).Hash()
	switch {
	case s.Ready:
	case obs.Unavailable:
		s.Reason = "the system container runtime to answer"
	case c == nil:
		s.Reason = "container etcd to be started"
	case c.State == container.Exited:
		s.Reason = fmt.Sprintf("container etcd to be started again: it exited with %d", c.ExitCode)
		if wait := c.NextStart.Sub(obs.Now); wait > 0 {
			s.Reason += fmt.Sprintf(", next start in %s", wait.Round(time.Second))
		}
	case !s.Running:
		s.Reason = "container etcd to run: it is " + c.State.String()
	case obs.Problem != "":
		s.Reason = "etcd to be healthy: " + obs.Problem
	default:
		s.Reason = "container etcd to be replaced"
	}
	return s
}
