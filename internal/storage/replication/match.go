package replication

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// match compares a file system with its replica, which may be nil, and returns the steps that take the one to where the other is.
func (p *planner) match(s, r *FileSystem, target string) []Step {
	if kind, detail := p.unfit(s, r); kind != "" {
		p.conflict(s, r, kind, detail)
		return nil
	}
	var found matched
	var ok bool
	switch {
	case r == nil:
		if old := p.renamed(s); old != "" {
			if p.moves[parentOf(target)] == parentOf(old) {
				p.Blocked = append(p.Blocked, Blocked{
					Source: s.Name, Target: target, By: parentOf(target), Reason: "its replica " + old + " is renamed with the one above",
				})
				return nil
			}
			p.moves[target] = old
			p.conflict(s, nil, Renamed, "the dataset was renamed, and its replica is "+old, Decision{Kind: FollowRename, Target: target, Name: old},
				Decision{Kind: SetAside, Target: old, Name: asideName(old, s.GUID)})
			return nil
		}
		ok = true
	case len(r.Snapshots()) == 0:
		found, ok = p.withoutSnapshots(s, r)
	default:
		found, ok = p.withSnapshots(s, r)
	}
	if !ok {
		return nil
	}
	steps := p.steps(s, r, target, found)
	p.clean(s, r, found.common, steps)
	return steps
}

// matched is what a file system and its replica have in common.
type matched struct {
	// common is the sender's version of what the replica has, resume the version that a partial receive goes on to.
	common, resume *Version
	// over says that a placeholder is replaced, abort that a partial receive cannot be gone on with.
	over  bool
	abort zfs.GUID
}

// unfit says what no decision can mend.
func (p *planner) unfit(s, r *FileSystem) (ConflictKind, string) {
	sends := s.Encryption != "off" && s.Encryption != ""
	switch {
	case p.job.Stream.Raw && !sends:
		return EncryptionDiffers, "raw streams are asked for, and " + s.Name + " is not encrypted: its replica would not be either"
	case !p.job.Stream.Raw && sends && (p.job.Encryption == EncryptionOff || p.job.Encryption == ""):
		return EncryptionDiffers, s.Name + " is encrypted, and its replica would not be"
	case r == nil || r.Placeholder:
		return "", ""
	case s.Kind != r.Kind:
		return KindDiffers, fmt.Sprintf("a %s and a %s", s.Kind, r.Kind)
	case r.Replica == p.job.ID && r.Stream != "" && r.Stream != p.job.Stream.String():
		return StreamDiffers, fmt.Sprintf("its streams were %s, and the job's are %s: this cannot change while a replica lives", r.Stream, p.job.Stream)
	}
	if fault := p.job.Encryption.Fault(r.Name, r.Encryption, r.EncryptionRoot); fault != "" {
		return EncryptionDiffers, fault
	}
	return "", ""
}

// renamed is the name of a replica of the same dataset at another place, where no other dataset is replicated to.
func (p *planner) renamed(s *FileSystem) string {
	for _, r := range p.receiver.FileSystems {
		if r.Replica != p.job.ID || r.Source != s.GUID {
			continue
		}
		taken := slices.ContainsFunc(p.sender.FileSystems, func(o FileSystem) bool { return p.job.Target(o.Name) == r.Name })
		if !taken {
			return r.Name
		}
	}
	return ""
}

// withoutSnapshots is for what is at the target and has no snapshot: a placeholder, the beginning of a first receive, or something else.
func (p *planner) withoutSnapshots(s, r *FileSystem) (matched, bool) {
	switch {
	case r.Token != "":
		m, ok := p.partial(s, r, nil)
		m.over = r.Placeholder
		return m, ok
	case r.Placeholder && (!r.ReadOnly || r.Filled()):
		p.conflict(s, r, PlaceholderChanged, fmt.Sprintf("it holds %d bytes and readonly is %t", r.ReferencedBytes, r.ReadOnly), p.aside(r))
		return matched{}, false
	case r.Placeholder && r.Encryption != "off" && r.Encryption != "":
		p.conflict(s, r, EncryptionDiffers, "it is an encrypted placeholder, and OpenZFS receives over no encrypted file system")
		return matched{}, false
	case r.Placeholder:
		return matched{over: true}, true
	}
	p.conflict(s, r, NotReplica, "it was not made by this job", p.aside(r))
	return matched{}, false
}

// placeholderBytes is more than an empty file system takes, whatever the layout of its pool.
const placeholderBytes = 2 << 20

// withSnapshots is for a replica, or what could be one.
func (p *planner) withSnapshots(s, r *FileSystem) (matched, bool) {
	common, later, ordered := compare(s, r)
	adopt := r.Replica != p.job.ID
	switch {
	case common == nil:
		p.conflict(s, r, NoCommonBase, "no snapshot of it is known on the other side", p.aside(r))
		return matched{}, false
	case !ordered:
		p.conflict(s, r, SnapshotOrder, "common snapshots have another order here", p.aside(r))
		return matched{}, false
	case diverged(later) || r.writtenTo() || r.WrittenBytes > 0 && p.decided(r.backTo(common.GUID, later)) != nil:
		kind, detail := Modified, modifiedDetail
		if diverged(later) {
			kind, detail = Diverged, "it has later snapshots than the common one: "+strings.Join(later, ", ")
		}
		p.conflict(s, r, kind, detail, r.backTo(common.GUID, later)...)
		return matched{}, false
	case adopt && p.receiver.rootOf(r.Name).Fenced:
		// What was the primary has nothing that the new one has not.
		p.Resolutions = append(p.Resolutions, Decision{Kind: Adopt, Target: r.Name, To: common.GUID})
		return matched{}, false
	case adopt:
		p.conflict(s, r, NotReplica, "it was not made by this job", Decision{Kind: Adopt, Target: r.Name, To: common.GUID}, p.aside(r))
		return matched{}, false
	case r.Token != "":
		m, ok := p.partial(s, r, common)
		m.common = common
		return m, ok
	}
	return matched{common: common}, true
}

// ownBytes is more than what OpenZFS writes by itself to a dataset that nobody changes: the block with the header of its intent log, in two copies. The header is
// another when the pool is imported and when the file system is mounted (zil_claim and zil_destroy in module/zfs/zil.c, 2.3.9), and when a dataset is rolled back to
// a snapshot of one that was in use (dsl_dataset_zero_zil in module/zfs/dsl_dataset.c); written counts it. A change takes the blocks above it too, and mostly more
// than this. One that does not is found by zfs receive, see [FileSystem.Refused].
const ownBytes = 32 << 10

// writtenTo says that a dataset was changed since its latest snapshot, as far as a listing tells.
func (f *FileSystem) writtenTo() bool { return f.WrittenBytes > ownBytes }

const modifiedDetail = "it was written to since its latest snapshot"

// backTo are the decisions about a replica that has more than a snapshot.
func (f *FileSystem) backTo(to zfs.GUID, later []string) []Decision {
	return []Decision{
		{Kind: RollBack, Target: f.Name, To: to, Destroys: later, Changes: f.WrittenBytes > 0}, {Kind: SetAside, Target: f.Name, Name: asideName(f.Name, f.GUID)},
	}
}

// Refused is the conflict of a replica that takes nothing behind a snapshot, since zfs receive has found it changed, however little that is: it compares contents,
// and not sizes (dsl_dataset_modified_since_snap in module/zfs/dsl_dataset.c, 2.3.9).
func (f *FileSystem) Refused(from zfs.GUID) *Conflict {
	c := &Conflict{Kind: Modified, Target: f.Name, Detail: modifiedDetail}
	at := f.Snapshot(from)
	if at == nil {
		return c
	}
	var later []string
	for _, v := range f.Versions {
		if v.CreateTXG > at.CreateTXG {
			later = append(later, v.suffix())
		}
	}
	changed := *f
	changed.WrittenBytes = max(changed.WrittenBytes, 1) // the listing may be older than the change
	c.Options = changed.backTo(from, later)
	return c
}

func (p *planner) aside(r *FileSystem) Decision {
	return Decision{Kind: SetAside, Target: r.Name, Name: asideName(r.Name, r.GUID)}
}

// asideName is where something is set aside: beside itself, with its GUID.
func asideName(name string, guid zfs.GUID) string {
	return fmt.Sprintf("%s.aside-%08x", name, uint32(guid))
}

// compare finds the sender's version of the newest snapshot that both have, the names of what the replica has after it, and whether what they have in
// common has the same order.
func compare(s, r *FileSystem) (common *Version, later []string, ordered bool) {
	ordered, last, at := true, uint64(0), uint64(0)
	for _, v := range r.Snapshots() {
		if mine := s.Version(v.GUID); mine != nil {
			ordered = ordered && mine.CreateTXG > last
			common, last, at = mine, mine.CreateTXG, v.CreateTXG
		}
	}
	for _, v := range r.Versions {
		if v.CreateTXG > at {
			later = append(later, v.suffix())
		}
	}
	return common, later, ordered
}

// diverged says whether one of the names is a snapshot's. Bookmarks alone are no history of their own, though they are in the way of rolling back.
func diverged(later []string) bool {
	return slices.ContainsFunc(later, func(name string) bool { return strings.HasPrefix(name, "@") })
}

// partial decides about a receive that was cut: go on, or begin anew.
func (p *planner) partial(s, r *FileSystem, common *Version) (matched, bool) {
	to, from := s.Snapshot(r.Partial.To), s.Version(r.Partial.From)
	fits := r.Partial.From == 0 && common == nil || common != nil && from != nil && from.GUID == common.GUID
	sameWay := r.Partial.Raw == p.job.Stream.Raw && (r.Partial.Raw || r.Partial.Large == p.job.Stream.Large)
	of, _, _ := strings.Cut(r.Partial.ToName, "@")
	own := r.Replica == p.job.ID || of == s.Name || to != nil
	switch {
	case !own:
		p.conflict(s, r, PartialForeign, "a receive of "+r.Partial.ToName+" was begun and not ended",
			Decision{Kind: AbortPartial, Target: r.Name, To: r.Partial.To})
		return matched{}, false
	case to != nil && fits && sameWay:
		return matched{resume: to}, true
	}
	return matched{abort: r.Partial.To}, true
}
