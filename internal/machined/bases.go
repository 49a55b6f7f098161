package machined

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/snapshots"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// bases are the snapshots that the other nodes of the declared jobs have too, by the cursors that replication keeps on the sending side. A cursor alone is enough to
// send on from; but to receive from the other node once the role has changed takes the snapshot itself. On the receiving side a hold keeps it, which OpenZFS
// heeds by itself.
func (a *Agent) bases(ctx context.Context) (snapshots.Bases, error) {
	jobs, err := plan.Replications(a.snapshot().input.Config)
	if err != nil {
		return nil, err
	}
	out := snapshots.Bases{}
	for _, j := range jobs {
		if err := a.basesOf(ctx, j, out); err != nil {
			return nil, fmt.Errorf("look for the cursors of the replication job %s: %w", j.Name, err)
		}
	}
	return out, nil
}

// basesOf adds those of a job, and of its way back.
func (a *Agent) basesOf(ctx context.Context, j plan.Replication, out snapshots.Bases) error {
	roots := j.Job.Sources()
	if !j.Sends {
		roots = j.Job.Targets()
	}
	for _, root := range roots {
		found, err := a.cfg.Pools.Datasets.List(ctx, zfs.Query{Roots: []string{root}, Kinds: []zfs.Kind{zfs.Bookmark}, Depth: -1})
		if errors.Is(err, zfs.ErrNotExist) {
			continue // nor is there a snapshot that could go
		}
		if err != nil {
			return err
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
