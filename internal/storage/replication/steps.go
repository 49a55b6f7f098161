package replication

import (
	"slices"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// steps are those of one file system.
func (p *planner) steps(s, r *FileSystem, target string, m matched) []Step {
	step := Step{Source: s.Name, Target: target, SourceGUID: s.GUID, DatasetKind: s.Kind}
	var out []Step
	at := m.common
	if at != nil && p.unfinished(s, r, *at) {
		finish := step
		finish.Kind, finish.To = StepFinish, *at
		out = append(out, finish)
	}
	first := Step{Abort: m.abort, Over: m.over}
	if m.resume != nil {
		first.Token = r.Token
		out = append(out, step.to(at, *m.resume, first))
		at, first = m.resume, Step{}
	}
	for _, v := range p.wanted(s, at) {
		if r != nil && r.hasName(v) {
			p.Conflicts = append(p.Conflicts, &Conflict{
				Kind: SnapshotName, Source: s.Name, Target: target, Detail: "it has another snapshot " + v.Name + "; destroy one of the two",
			})
			return out
		}
		out = append(out, step.to(at, v, first))
		at, first = &v, Step{}
	}
	switch {
	case len(out) == 0 && at == nil:
		p.Empty = append(p.Empty, s.Name)
	case len(out) == 0:
		p.Current = append(p.Current, s.Name)
	}
	return out
}

// hasName says whether there is another snapshot of the name.
func (f *FileSystem) hasName(v Version) bool {
	return slices.ContainsFunc(f.Versions, func(o Version) bool { return !o.Bookmark && o.Name == v.Name && o.GUID != v.GUID })
}

// to is the step between two versions, with what the first of a file system has to take care of.
func (s Step) to(from *Version, to Version, first Step) Step {
	s.Kind, s.To, s.Token, s.Abort, s.Over = StepInitial, to, first.Token, first.Abort, first.Over
	if from != nil {
		s.Kind, s.From = StepIncremental, *from
	}
	return s
}

// wanted are the snapshots after one that are sent; where there is none, those with which a replica begins.
func (p *planner) wanted(s *FileSystem, after *Version) []Version {
	var found []Version
	for _, v := range s.Versions {
		if p.job.wants(v) && (after == nil || v.CreateTXG > after.CreateTXG) {
			found = append(found, v)
		}
	}
	if after == nil && p.job.Initial == Latest && len(found) > 1 {
		found = found[len(found)-1:]
	}
	return found
}

// unfinished says that what has arrived is not marked so on both sides. It is held from the moment when it is whole; what a step takes away at its end is
// there until then: the mark of the placeholder that it replaced, the hold on what was received before it, and the step hold that goes to it.
func (p *planner) unfinished(s, r *FileSystem, common Version) bool {
	if p.job.Guarantee == Nothing {
		return false
	}
	there := r.Snapshot(common.GUID)
	before := slices.ContainsFunc(r.Versions, func(v Version) bool { return v.Last && v.GUID != common.GUID })
	return there != nil && (!there.Last || r.Marked || before) || !s.hasCursor(p.job.ID, common.GUID) || s.stepTo() == common.GUID
}

// stepTo is the latest snapshot with a step hold: that which a step goes to. 0 is none.
func (f *FileSystem) stepTo() zfs.GUID {
	to := zfs.GUID(0)
	for _, v := range f.Versions {
		if v.Step {
			to = v.GUID
		}
	}
	return to
}

// clean finds what earlier runs left on a file system whose next step is known.
func (p *planner) clean(s, r *FileSystem, common *Version, steps []Step) {
	var holds, cursors []zfs.GUID
	if common != nil {
		cursors = append(cursors, common.GUID)
	}
	finish := false
	for _, step := range steps {
		if step.Kind == StepFinish {
			// By its holds it is known, and it takes them away at its end.
			holds, finish = append(holds, step.To.GUID), true
			continue
		}
		if p.job.guarantee(step.Kind) == Resumable {
			holds = append(holds, step.From.GUID, step.To.GUID)
		}
		cursors = append(cursors, step.From.GUID, step.To.GUID)
		break
	}
	for _, v := range s.Versions {
		if v.Step && !slices.Contains(holds, v.GUID) {
			p.SenderClean.StepHolds = append(p.SenderClean.StepHolds, s.Whole(v))
		}
	}
	// Where there is no replica, one may come back that was renamed: then its cursor is all that can be gone on from.
	for _, v := range s.cursors(p.job.ID) {
		if r != nil && (common != nil || len(r.Snapshots()) == 0) && !slices.Contains(cursors, v.GUID) || p.job.Guarantee == Nothing {
			p.SenderClean.Cursors = append(p.SenderClean.Cursors, s.Whole(v))
		}
	}
	if r == nil || finish {
		return
	}
	for _, v := range r.Versions {
		if v.Last && (common == nil || v.GUID != common.GUID || p.job.Guarantee == Nothing) {
			p.ReceiverClean.LastHolds = append(p.ReceiverClean.LastHolds, r.Whole(v))
		}
	}
}
