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

// Lasting is implemented by operations of which some take as long as the machine needs for them, such as the repair of a file system: cut off after the time
// of a pass, they would begin anew for ever. They have hours ([Config].Lasting), so that what never ends is told of, and tried again.
type Lasting interface{ Lasts() bool }

// Parted is implemented by operations on parts of the machine that have nothing to do with each other, such as pools. One that fails keeps back what comes
// after it on its own part, and no other: else one part that cannot be brought about would be in the way of all.
type Parted interface{ Part() string }
