package container

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// State is where a container is in its life.
//
//	created ──start──▶ running ──exit──▶ exited
//	   ▲                                   │
//	   └───────────── Ensure ◀─────────────┘   (after a back-off)
type State int

// The states; Unknown is a container that the runtime cannot judge now: it may
// well run, and must be left alone.
const (
	Unknown State = iota
	Created
	Running
	Paused
	Exited
)

var stateNames = [...]string{Unknown: "unknown", Created: "created", Running: "running", Paused: "paused", Exited: "exited"}

// String returns the state's name in lower case.
func (s State) String() string {
	if s < 0 || int(s) >= len(stateNames) {
		return fmt.Sprintf("state %d", int(s))
	}
	return stateNames[s]
}

// Info is a container as the runtime has it.
type Info struct {
	// Namespace is containerd's: system, kubelet or k8s.io.
	Namespace string
	// Name is the Spec's name, or for a pod's container its name in the pod;
	// the sandbox of a pod is called "pause".
	Name string
	// ID is unique in the namespace; for our own containers it is Name.
	ID string
	// Image is empty for containers that run from the verified root.
	Image string
	// Pod and PodNamespace are empty outside k8s.io.
	Pod, PodNamespace string
	// PID is as the node sees it, except in k8s.io: there it is the plane's.
	PID       uint32
	State     State
	StartedAt time.Time
	// ExitCode and ExitedAt are meaningful when State is Exited.
	ExitCode uint32
	ExitedAt time.Time
	// Hash is the Spec.Hash it was made from; empty in k8s.io.
	Hash string
	// Restarts counts the starts after the first.
	Restarts int
	// NextStart is set for an exited container that is in back-off.
	NextStart time.Time
}

// Runtime runs the containers of one namespace. Implementations are safe for
// concurrent use. All methods are bounded by their context; List and Stop return
// ErrUnavailable (wrapped) when the runtime does not answer at all.
type Runtime interface {
	// List returns every container of the namespace, sorted by name.
	List(ctx context.Context) ([]Info, error)
	// Ensure brings the container to running as spec says. One that runs
	// with the same hash is left alone; another is stopped and replaced; an
	// exited one is started again, or, while it is in back-off, left with a
	// nil error (Info.NextStart says until when). One in state Unknown is left
	// alone, with an error.
	Ensure(ctx context.Context, spec Spec) error
	// Stop ends the container with its spec's signal, kills it after the
	// timeout (zero: the spec's), and removes it. Stopping what is not there
	// is no error.
	Stop(ctx context.Context, name string, timeout time.Duration) error
	// Watch calls changed, from one goroutine, after a container started or
	// ended, and whenever such a change may have been missed: at first, and
	// after the runtime was away. It returns ctx's error when ctx ends.
	Watch(ctx context.Context, changed func()) error
}

// ErrUnavailable says that the runtime itself does not answer.
var ErrUnavailable = errors.New("container runtime unavailable")

// Back-off after an exit: first, doubled for each start that did not last, at
// most; a container that ran for settled begins anew.
const (
	backOffFirst = time.Second
	backOffMost  = 30 * time.Second
	settled      = 60 * time.Second
)

// NeedsStart reports whether Ensure has something to do at now for a container
// of the right hash. One that exited in what is far in the future now, since the
// clock was set back, does not wait for that.
func (i Info) NeedsStart(now time.Time) bool {
	switch i.State {
	case Created:
		return true
	case Exited:
		return !now.Before(i.NextStart) || i.ExitedAt.Sub(now) > backOffMost
	}
	return false
}

// BackOff returns how long to wait before the next start of a container that
// failed fast failures times in a row (0: it had settled, or never failed).
func BackOff(failures int) time.Duration {
	if failures <= 0 {
		return 0
	}
	d := backOffFirst
	for ; failures > 1 && d < backOffMost; failures-- {
		d *= 2
	}
	return min(d, backOffMost)
}

// Settled reports whether a run was long enough to forget earlier failures.
func Settled(run time.Duration) bool { return run >= settled }
