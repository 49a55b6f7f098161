package peer

import (
	"context"
	"fmt"

	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/replication/endpoint"
)

// A generation grows by one with each failover. What the other node names is noted here, and a failover takes the next one: of the highest number that there is, there is
// none, and who named it would have kept this node from ever being the primary.
const (
	// maxLeap is how much higher one may be than what this node knows of.
	maxLeap = 1 << 20
	// maxGeneration is for a node that has nothing of the job yet.
	maxGeneration = 1 << 62
)

// CheckGeneration is an error for a generation of the other node's to which no failovers have led. Own reads the roots that this node has; it is called only where that
// matters.
func CheckGeneration(generation uint64, own func() ([]replication.RootState, error)) error {
	if generation <= maxLeap {
		return nil
	}
	states, err := own()
	if err != nil {
		return err
	}
	known, there := uint64(0), false
	for _, r := range states {
		known, there = max(known, r.Generation), there || r.Exists
	}
	if there && (generation <= known || generation-known <= maxLeap) || !there && generation <= maxGeneration {
		return nil
	}
	return fmt.Errorf("%w: the other node says that the generation is %d, and this one knows of %d: each failover is one more", server.ErrInvalid, generation, known)
}

// noted is for requests by which a generation is noted here.
func (a Allowed) noted(ctx context.Context, local *endpoint.Local, r interface{ GetGeneration() uint64 }) error {
	return toStatus(CheckGeneration(r.GetGeneration(), func() ([]replication.RootState, error) { return local.Roots(ctx, a.roots()) }))
}
