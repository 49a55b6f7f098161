package replication

import (
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// StepKind is what a step does.
type StepKind string

// The kinds.
const (
	// StepPlaceholder makes a file system for those below it.
	StepPlaceholder StepKind = "placeholder"
	// StepInitial sends a whole snapshot.
	StepInitial StepKind = "initial"
	// StepIncremental sends what lies between two.
	StepIncremental StepKind = "incremental"
	// StepFinish sends nothing: the snapshot has arrived, and holds and cursors have to follow.
	StepFinish StepKind = "finish"
)

// Step is one piece of work.
type Step struct {
	Kind           StepKind
	Source, Target string
	// SourceGUID and DatasetKind are of the dataset.
	SourceGUID  zfs.GUID
	DatasetKind zfs.Kind
	From, To    Version
	// Token goes on with a receive that was cut. Abort says that one is in the way that cannot be gone on with, Over that a placeholder is.
	Token string
	Abort zfs.GUID
	Over  bool
	// Bytes is the estimate, 0 where there is none.
	Bytes uint64
}

// Blocked is a file system that waits for another.
type Blocked struct{ Source, Target, By, Reason string }

// Plan is what is to be done.
type Plan struct {
	// Resolutions come first, and then a new plan is made.
	Resolutions []Decision
	// SenderClean and ReceiverClean are leftovers of earlier runs.
	SenderClean, ReceiverClean CleanRequest
	// Steps are in the order in which they are done.
	Steps     []Step
	Conflicts []*Conflict
	Blocked   []Blocked
	// Current has nothing to do, Empty has no snapshot that is sent.
	Current, Empty []string
	// Orphans are replicas of the job whose dataset is not there, or left out, any more. They are left alone.
	Orphans []string
	// FencedBy is the generation that was promoted elsewhere, where the sender is fenced: then there are no steps.
	FencedBy uint64
}

// MakePlan compares the sides. It is pure.
func MakePlan(j Job, sender, receiver Listing, decisions []Decision) Plan {
	p := planner{job: j, sender: sender, receiver: receiver, decisions: decisions, moves: map[string]string{}}
	p.SenderClean.Job, p.ReceiverClean.Job = j.ID, j.ID
	if p.FencedBy = fencedBy(j, sender, receiver); p.FencedBy != 0 {
		return p.Plan
	}
	rows := map[string][]Step{}
	for i := range sender.FileSystems {
		s := &sender.FileSystems[i]
		if target := j.Target(s.Name); target != "" && j.included(s.Name) && !s.Placeholder {
			if steps := p.match(s, receiver.Find(target), target); len(steps) > 0 {
				rows[s.Name] = steps
			}
		} else if target != "" {
			p.release(s, nil)
		}
	}
	p.placeholders(rows)
	p.order(rows)
	p.orphans()
	return p.Plan
}

// fencedBy is the generation by which the sender is fenced, 0 where it is not: the receiver knows of a higher one, the sender has learned of one before, or
// what it has is on the way back, and not there. The job that brings it back has the primary on its sending side.
func fencedBy(j Job, sender, receiver Listing) uint64 {
	if g := receiver.Generation(); g > sender.Generation() {
		return g
	}
	fenced := slices.ContainsFunc(sender.Roots, func(r RootState) bool { return r.Fenced && r.Replica == "" })
	if fenced || !j.Returning && comesBack(j, sender, receiver) {
		return sender.Generation()
	}
	return 0
}

// comesBack says that a tree on the sending side is a replica of the job's own reverse, which nobody has promoted yet. One that is received anew, as what was
// there before was set aside or is lost, has no mark of a fence. Its root may be a placeholder, which has no mark of a replica either: it is known by the
// primary of its generation, which is on the other side still. One below which another job receives is that job's, as where this one replicates on what came.
func comesBack(j Job, sender, receiver Listing) bool {
	back := ReverseID(j.ID)
	return slices.ContainsFunc(j.Roots, func(root Root) bool {
		mine, theirs := sender.rootOf(root.Source), receiver.rootOf(root.Target)
		if mine.Replica != "" {
			return mine.Replica == back
		}
		f := sender.Find(root.Source)
		primary := theirs.Exists && theirs.Generation > 0 && !theirs.Fenced && theirs.Replica == ""
		var other, anew bool
		for _, below := range sender.FileSystems {
			if within(below.Name, root.Source) && below.Replica != "" {
				other, anew = other || below.Replica != back, anew || below.Replica == back
			}
		}
		return f != nil && f.Placeholder && f.ReadOnly && primary && (anew || !other) && mine.Generation == theirs.Generation
	})
}

type planner struct {
	Plan
	job              Job
	sender, receiver Listing
	decisions        []Decision
	// moves are replicas of renamed datasets, by where they should be.
	moves map[string]string
}

// decided returns the decision that a person made for one of the options.
func (p *planner) decided(options []Decision) *Decision {
	for _, o := range options {
		if slices.ContainsFunc(p.decisions, o.Equal) {
			return &o
		}
	}
	return nil
}

// conflict notes one, or the decision about it. What either side holds is left alone until it is resolved, save what no step can use.
func (p *planner) conflict(s, r *FileSystem, kind ConflictKind, detail string, options ...Decision) {
	if d := p.decided(options); d != nil {
		p.Resolutions = append(p.Resolutions, *d)
		return
	}
	target := p.job.Target(s.Name)
	p.Conflicts = append(p.Conflicts, &Conflict{Kind: kind, Source: s.Name, Target: target, Detail: detail, Options: options})
	p.release(s, r)
}

// release gives up what no step needs: all step holds but those of a partial receive.
func (p *planner) release(s, r *FileSystem) {
	var keep []zfs.GUID
	if r != nil {
		keep = append(keep, r.Partial.To, r.Partial.From)
	}
	for _, v := range s.Versions {
		if v.Step && !slices.Contains(keep, v.GUID) {
			p.SenderClean.StepHolds = append(p.SenderClean.StepHolds, s.Whole(v))
		}
	}
}

// placeholders adds steps for those above what is received.
func (p *planner) placeholders(rows map[string][]Step) {
	for name := range rows {
		for above := parentOf(name); p.job.Target(above) != ""; above = parentOf(above) {
			target := p.job.Target(above)
			if p.receiver.Find(target) != nil || len(rows[above]) > 0 || p.stuck(above) {
				continue
			}
			rows[above] = []Step{{Kind: StepPlaceholder, Source: above, Target: target}}
		}
	}
}

// stuck says whether a dataset should be received itself, and cannot now.
func (p *planner) stuck(source string) bool {
	s := p.sender.Find(source)
	return s != nil && !s.Placeholder && p.job.included(source) && !slices.Contains(p.Empty, source)
}

// orphans finds replicas of nothing.
func (p *planner) orphans() {
	for _, r := range p.receiver.FileSystems {
		if r.Replica != p.job.ID {
			continue
		}
		source := ""
		for _, root := range p.job.Roots {
			if within(r.Name, root.Target) {
				source = root.Source + strings.TrimPrefix(r.Name, root.Target)
			}
		}
		if s := p.sender.Find(source); s == nil || !p.job.included(source) {
			p.Orphans = append(p.Orphans, r.Name)
		}
	}
}
