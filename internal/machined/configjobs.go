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

// poolNotes tell of sources that are whole pools and were none before: they can be failed over, and their role does not come back, as nothing is received into the root
// of a pool ([replication.Job.Check] of the way back).
func (d draft) poolNotes() []string {
	had := func(uuid, source string) bool {
		return d.current != nil && slices.ContainsFunc(d.current.ReplicationJobs, func(j config.ReplicationJob) bool {
			return j.UUID == uuid && slices.ContainsFunc(j.Sources, func(t config.DatasetTree) bool { return t.Name == source })
		})
	}
	var notes []string
	for _, j := range d.cfg.ReplicationJobs {
		for _, t := range j.Sources {
			if !strings.Contains(t.Name, "/") && !had(j.UUID, t.Name) {
				notes = append(notes, fmt.Sprintf("ReplicationJob %s: the source %s is a whole pool, and cannot be failed back to once its replica was failed over to; "+
					"name datasets below it instead, if it should", j.Name, t.Name))
			}
		}
	}
	return notes
}

// jobStays is an error where the node comes by itself to a configuration without a job, or without a tree of it: by one that was just given, and is about to be in
// force; by what is staged at its next boot, when no pool is there yet that says whether the job was failed over; or at the end of a trial, which waits for nobody.
// keepsJobs was asked before that, and what it asks about must not come true meanwhile. It takes the lock of configs.
func (a *Agent) jobStays(s plan.Replication) error {
	c := &a.configs
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.store == nil {
		return nil
	}
	r := c.store.Record()
	if current, err := c.read(r.Current); err == nil { // else what a source has is in force, and could not be stored
		if i := slices.IndexFunc(current.ReplicationJobs, func(j config.ReplicationJob) bool { return j.UUID == s.Job.ID }); i >= 0 && current.ReplicationJobs[i].PeerRetired {
			return nil // the old primary needs not be told
		}
		if err := hasJob(s, current, fmt.Sprintf("revision %d of the configuration is about to be in force", r.Current)); err != nil {
			return err
		}
	}
	var next uint64
	var when string
	switch {
	case r.Trying != nil:
		next = r.Trying.Back
		when = fmt.Sprintf("the node goes back to revision %d of the configuration if revision %d, which is tried, is not confirmed: confirm it first, with nodectl config confirm", next, r.Current)
	case r.Staged != nil:
		next = r.Staged.Revision
		when = fmt.Sprintf("revision %d of the configuration, which is staged, is in force with the next boot: give it up first, with nodectl config rollback %d, or stage another that "+
			"has the job", next, r.Current)
	default:
		return nil
	}
	cfg, err := c.read(next)
	if err != nil {
		return fmt.Errorf("fail over %s: %w: %s; whether that has the job cannot be told: %w", s.Name, server.ErrPrecondition, when, err)
	}
	return hasJob(s, cfg, when)
}

// hasJob is an error where a configuration, which is in force at some time, does not have a job, or a tree of it.
func hasJob(s plan.Replication, cfg *config.Config, when string) error {
	after, err := plan.Replications(cfg)
	if err != nil {
		return fmt.Errorf("fail over %s: %w: %s; whether that has the job cannot be told: %w", s.Name, server.ErrPrecondition, when, err)
	}
	if gone := withoutTrees(s, after); len(gone) > 0 {
		return fmt.Errorf("fail over %s: %w: %s; it does not receive %s any more, and without that the old primary, on %s, would not learn that it is none", s.Name, server.ErrPrecondition,
			when, strings.Join(gone, ", "), s.Peer.Address)
	}
	return nil
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
