package machined

import (
	"context"
	"fmt"
	"time"

	"github.com/cyvive/cyvive/internal/machined/server"
)

const (
	// maxLists is how many calls of the API list datasets and snapshots at once. Each runs programs, and what they list is in memory until the call is answered:
	// whoever may read could have so many going that nothing is left for the rest of the node.
	maxLists = 4
	// listTimeout is for one of them, with the time for its turn. Clients wait less.
	listTimeout = 2 * time.Minute
)

// errListTimeout is why one ends that does not.
var errListTimeout = fmt.Errorf("the datasets were not listed within %s: a pool may be suspended, see nodectl pool status: %w", listTimeout, context.DeadlineExceeded)

// turn waits until datasets may be listed for a call, which calls end when it has what it wants. The context is for that time.
func (a *Agent) turn(ctx context.Context) (_ context.Context, end func(), err error) {
	bounded, cancel := context.WithTimeoutCause(ctx, listTimeout, errListTimeout)
	select {
	case a.lists <- struct{}{}:
		return bounded, func() { <-a.lists; cancel() }, nil
	case <-bounded.Done():
		defer cancel()
		return nil, nil, fmt.Errorf("%w: %d other calls list datasets, and none has ended: %w", server.ErrUnavailable, maxLists, context.Cause(bounded))
	}
}
