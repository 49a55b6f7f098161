package machined

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/snapshots"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// bases are the snapshots that the other nodes of the declared jobs have too, by the cursors that replication keeps on the sending side. A cursor alone is enough to
// send on from; but to receive from the other node once the role has changed takes the snapshot itself. On the receiving side a hold keeps it, which OpenZFS
// heeds by itself. A pool on which they cannot be listed, as one that is suspended, is unknown, and has no say on others.
func (a *Agent) bases(ctx context.Context) (snapshots.Bases, snapshots.Unknown, error) {
	jobs, err := plan.Replications(a.snapshot().input.Config)
	if err != nil {
		return nil, nil, err
	}
	out, unknown := snapshots.Bases{}, snapshots.Unknown{}
	for _, j := range jobs {
		if err := a.basesOf(ctx, j, out, unknown); err != nil {
			return nil, nil, err
		}
	}
	return out, unknown, nil
}

// basesPatience is how long a pool may take to list the cursors of a job.
const basesPatience = 2 * time.Minute

// basesOf adds those of a job, and of its way back. The error is the context's.
func (a *Agent) basesOf(ctx context.Context, j plan.Replication, out snapshots.Bases, unknown snapshots.Unknown) error {
	roots := j.Job.Sources()
	if !j.Sends {
		roots = j.Job.Targets()
	}
	for _, root := range roots {
		pool, _, _ := strings.Cut(root, "/")
		if unknown[pool] != "" {
			continue // one that does not answer is not waited for again
		}
		bounded, cancel := context.WithTimeoutCause(ctx, basesPatience, fmt.Errorf("no answer within %s: %w", basesPatience, context.DeadlineExceeded))
		found, err := a.cfg.Pools.Datasets.List(bounded, zfs.Query{Roots: []string{root}, Kinds: []zfs.Kind{zfs.Bookmark}, Depth: -1})
		cancel()
		if errors.Is(err, zfs.ErrNotExist) {
			continue // nor is there a snapshot that could go
		}
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			unknown[pool] = fmt.Sprintf("look for the cursors of the replication job %s: %v", j.Name, err)
			continue
		}
		for _, d := range found {
			_, name, _ := strings.Cut(d.Name, "#")
			if id, guid, ok := replication.ParseCursor(name); ok && (id == j.Job.ID || id == replication.ReverseID(j.Job.ID)) {
				out[guid] = "replication job " + j.Name
			}
		}
	}
	return nil
}
