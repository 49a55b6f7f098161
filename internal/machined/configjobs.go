package machined

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
)

// keepsJobs refuses a draft without a job, or a tree of one, whose replica on this node was promoted. The old primary learns by that job alone that it is none any
// more: without it, it is refused when it comes back, takes writes as before, and what one of the two has is lost when they are brought together. It is told, or gone
// for good, by the word of a person only, in the job that is then taken out.
func (a *Agent) keepsJobs(ctx context.Context, d *draft) error {
	if a.jobs == nil || d.current == nil {
		return nil
	}
	before, err := plan.Replications(d.current)
	if err != nil {
		return nil // what this release cannot read is there to be replaced
	}
	after, err := plan.Replications(d.cfg)
	if err != nil {
		return err
	}
	for i, j := range before {
		document := d.current.ReplicationJobs[i]
		if gone := withoutTrees(j, after); len(gone) > 0 && !document.PeerRetired {
			if err := a.keepsJob(ctx, j, gone, document.Promoted); err != nil {
				return fmt.Errorf("%w: %w", server.ErrPrecondition, err)
			}
		}
	}
	return nil
}

// tellGoneJobs tells of jobs, and trees of them, that were received on this node, and are not in the configuration that a source has now. That is not refused, as it is over
// the API: which of them were failed over to is known only once there are pools, and these are in the configuration.
func (a *Agent) tellGoneJobs(before, after *config.Config, where string) {
	was, err := plan.Replications(before)
	if err != nil {
		return // nor can it be told what they were
	}
	is, err := plan.Replications(after)
	if err != nil {
		return
	}
	for i, j := range was {
		gone := withoutTrees(j, is)
		if len(gone) == 0 || before.ReplicationJobs[i].PeerRetired {
			continue
		}
		why := fmt.Sprintf("%s has no job that receives %s any more: if that was failed over to, the other node, %s, is not told of it, and takes writes; "+
			"put the job back there, or set peerRetired: true in it before it is taken out", where, strings.Join(gone, ", "), j.Peer.Address)
		a.log.Warn("a replication job was taken out", "job", j.Name, "reason", why)
		a.events.Add(server.EventConfiguration, "replication "+j.Name, "taken out", why)
	}
}

// withoutTrees are the trees that a job receives here and that no job of the same UUID does.
func withoutTrees(j plan.Replication, after []plan.Replication) []string {
	if j.Sends {
		return nil
	}
	return slices.DeleteFunc(j.Job.Targets(), func(target string) bool {
		return slices.ContainsFunc(after, func(o plan.Replication) bool {
			return o.Job.ID == j.Job.ID && !o.Sends && slices.Contains(o.Job.Targets(), target)
		})
	})
}

// keepsJob is why a job cannot do without trees; declared says that by its document it was failed over.
func (a *Agent) keepsJob(ctx context.Context, j plan.Replication, trees []string, declared bool) error {
	ctx, cancel := context.WithTimeout(ctx, previewTimeout)
	defer cancel()
	promoted, absent, err := a.jobs.Promoted(ctx, j, trees)
	if err != nil {
		return fmt.Errorf("ReplicationJob %s cannot do without %s now: whether the replica was failed over to cannot be told: %w; try again when its pool answers, "+
			"or if the other node is fenced or gone for good, set peerRetired: true in the job first", j.Name, strings.Join(trees, ", "), err)
	}
	if declared {
		promoted = append(promoted, absent...)
	}
	if len(promoted) == 0 {
		return nil
	}
	return fmt.Errorf("ReplicationJob %s was failed over: %s is the primary, and the old one, on %s, learns that by this job alone. Without it both may be written to, and what one "+
		"of them has is lost when they are brought together. Keep the job; or fail back before, with nodectl replication failback %s on that node; or if that node shows the job "+
		"as failed over, or is gone for good, set peerRetired: true in the job, and take it out with the next change", j.Name, strings.Join(promoted, ", "), j.Peer.Address, j.Name)
}
