package reconcile

import (
	"context"
	"fmt"
)

// Domain is one part of the machine that is brought to a desired state. Spec is the whole desired state, never an increment; applying it
// twice is the same as once. The loop calls the methods from one goroutine.
type Domain[Spec, Observed any, Op fmt.Stringer, Status any] interface {
	// Observe reads the facts that Diff and Status need. It changes nothing.
	Observe(ctx context.Context, spec Spec) (Observed, error)
	// Diff returns the operations that lead from obs to spec, in the order in which they are to be applied. It is pure.
	Diff(spec Spec, obs Observed) []Op
	// Apply carries out one operation. It may be called again for an operation that failed or was interrupted.
	Apply(ctx context.Context, spec Spec, op Op) error
	// Status sums up an observation for others. It is pure.
	Status(spec Spec, obs Observed) Status
}

// Report is what a loop publishes after each pass.
type Report[Status any] struct {
	// Generation is that of the desired state which the pass worked on; 0 means that no pass was made yet.
	Generation uint64
	// Satisfied says that an observation after the last operation matched the desired state.
	Satisfied bool
	// Status is that of the last observation. It is the zero value while none succeeded.
	Status Status
	// Held says, in words for a person, what the domain waits for while it has no specification.
	Held string
	// Doing is the operation that is being carried out; empty between passes.
	Doing string
	// Problem is the text of the error that ended the pass, empty if none did. The loop tries again by itself.
	Problem string
}

// Waits says in words what stands between the domain and its desired state: the reason it is held back, its last error or what it is
// doing. It is empty if nothing does, or if only Status knows.
func (r Report[Status]) Waits() string {
	switch {
	case r.Held != "":
		return r.Held
	case r.Problem != "":
		return r.Problem
	}
	return r.Doing
}
