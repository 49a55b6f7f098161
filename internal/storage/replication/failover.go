package replication

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Promotion makes primaries of the replicas of a job, where the sending side is lost or is to change its role.
type Promotion struct {
	Job      Job
	Receiver Receiver
	// Properties are set on the roots at the end, such as mount points.
	Properties map[string]string
}

// Run promotes. What is then the present is what was received last; a replica that was changed is a conflict about which a person decides. It may be
// repeated until it succeeds.
func (p Promotion) Run(ctx context.Context, decisions ...Decision) (generation uint64, err error) {
	if err := p.Job.Check(); err != nil {
		return 0, err
	}
	listing, err := p.Receiver.List(ctx, ListRequest{p.Job.ID, p.Job.Targets()})
	if err != nil {
		return 0, fmt.Errorf("promote: %w", err)
	}
	if err := p.Possible(listing); err != nil {
		return 0, err
	}
	generation = p.Generation(listing)
	if generation > 1 && p.promoted(listing) {
		return listing.Generation(), nil
	}
	if conflicts := p.conflicts(listing, decisions); len(conflicts) > 0 {
		return 0, errors.Join(conflicts...)
	}
	return generation, p.Receiver.Promote(ctx, PromoteRequest{
		Fence: Fence{Job: p.Job.ID, Roots: p.Job.Targets(), Generation: generation}, Decisions: p.kept(listing, decisions), Properties: p.Properties,
	})
}

// kept are the decisions, and those about replicas that this promotion has opened before it was cut: what is written to them meanwhile is meant.
func (p Promotion) kept(l Listing, decisions []Decision) []Decision {
	all := slices.Clone(decisions)
	for i := range l.FileSystems {
		if f := &l.FileSystems[i]; f.Replica == p.Job.ID && l.Opened(f) && f.Received() != nil {
			all = append(all, Decision{Kind: Keep, Target: f.Name, To: f.Received().GUID})
		}
	}
	return all
}

// Generation is the one that a promotion takes: one more than what is known here, or the same where it goes on. What a failback has frozen takes the one after
// that: the other side may have taken the next one by then, and of two primaries of one generation none is fenced.
func (p Promotion) Generation(l Listing) uint64 {
	switch {
	case l.promoting():
		return l.Generation()
	case slices.ContainsFunc(l.Roots, func(r RootState) bool { return r.Frozen }):
		return l.Generation() + 2
	}
	return l.Generation() + 1
}

// Possible is an error where a promotion would find nothing to promote, or end in its middle: it is asked before anything is set.
func (p Promotion) Possible(l Listing) error {
	for _, root := range l.Roots {
		f := l.Find(root.Name)
		switch {
		case !root.Exists || f == nil:
			return fmt.Errorf("promote %s: %w: nothing was received yet", root.Name, zfs.ErrNotExist)
		case root.Replica != "" && root.Replica != p.Job.ID:
			return fmt.Errorf("promote %s: %w: what is there is a replica of the job %s, and nothing of %s", root.Name, zfs.ErrNotExist, root.Replica, p.Job.ID)
		case len(f.Snapshots()) == 0 && !f.Placeholder && (f.Replica == p.Job.ID || f.Token != ""):
			return fmt.Errorf("promote %s: %w: only a part of its first snapshot was received; to promote what else the job has, take it out of the job",
				root.Name, zfs.ErrNotExist)
		}
	}
	replicas := slices.ContainsFunc(l.FileSystems, func(f FileSystem) bool { return f.Replica == p.Job.ID })
	known := slices.ContainsFunc(l.Roots, func(r RootState) bool { return r.Generation > 0 || r.Frozen })
	if !replicas && !known {
		return fmt.Errorf("promote %s: %w: nothing there is a replica of the job %s", p.Job.Targets()[0], zfs.ErrNotExist, p.Job.ID)
	}
	return nil
}

// promoted says that it was done before, and that only its end was not heard of. What a failback has frozen since is opened again.
func (p Promotion) promoted(l Listing) bool {
	left := slices.ContainsFunc(l.FileSystems, func(f FileSystem) bool { return f.Replica == p.Job.ID })
	return !left && !slices.ContainsFunc(l.Roots, func(r RootState) bool { return r.Promoting || r.Fenced || r.Frozen })
}

// conflicts are replicas that were changed, and about which nothing was decided.
func (p Promotion) conflicts(l Listing, decisions []Decision) []error {
	var errs []error
	for i := range l.FileSystems {
		f := &l.FileSystems[i]
		if f.Replica != p.Job.ID || len(f.Snapshots()) == 0 || l.Opened(f) {
			continue
		}
		if c := f.Changed(); c != nil && !c.decided(decisions) {
			errs = append(errs, c)
		}
	}
	return errs
}

func (c *Conflict) decided(decisions []Decision) bool {
	p := planner{decisions: decisions}
	return p.decided(c.Options) != nil
}

// Changed is the conflict of a replica that has more than what was received last, nil if it has not. What was received last is what the hold is on;
// where there is none, as the job keeps nothing, it is the latest snapshot.
func (f *FileSystem) Changed() *Conflict {
	last := f.Received()
	var later []string
	for _, v := range f.Versions {
		if last != nil && v.CreateTXG > last.CreateTXG {
			later = append(later, v.suffix())
		}
	}
	if last == nil || !diverged(later) && f.WrittenBytes == 0 {
		return nil
	}
	kind := Modified
	if diverged(later) {
		kind = Diverged
	}
	return &Conflict{
		Kind: kind, Target: f.Name, Detail: "it has more than what was received last",
		Options: []Decision{
			{Kind: RollBack, Target: f.Name, To: last.GUID, Destroys: later, Changes: f.WrittenBytes > 0},
			{Kind: Keep, Target: f.Name, To: last.GUID},
		},
	}
}

// Received is the snapshot that was received last, or nil.
func (f *FileSystem) Received() *Version {
	var last *Version
	for i := range f.Versions {
		v := &f.Versions[i]
		if !v.Bookmark && (v.Last || last == nil || !last.Last) {
			last = v
		}
	}
	return last
}

// Forget takes away all that a job keeps on a side, as when it is deleted. Replicas stay as they are.
func Forget(ctx context.Context, job string, side Endpoint, roots []string) error {
	listing, err := side.List(ctx, ListRequest{job, roots})
	if err != nil {
		return fmt.Errorf("forget job %s: %w", job, err)
	}
	request := CleanRequest{Job: job}
	for i := range listing.FileSystems {
		f := &listing.FileSystems[i]
		for _, v := range f.Versions {
			if v.Step {
				request.StepHolds = append(request.StepHolds, f.Whole(v))
			}
			if v.Last {
				request.LastHolds = append(request.LastHolds, f.Whole(v))
			}
		}
		for _, v := range f.cursors(job) {
			request.Cursors = append(request.Cursors, f.Whole(v))
		}
	}
	return side.Clean(ctx, request)
}
