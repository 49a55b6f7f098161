package replication

import (
	"slices"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Version is a snapshot or bookmark of a file system.
type Version struct {
	// Name is what stands behind the '@' or '#'.
	Name      string
	Bookmark  bool
	GUID      zfs.GUID
	CreateTXG uint64
	Created   time.Time
	// Step and Last say that the job has a hold of that kind on it.
	Step, Last bool
}

// FileSystem is a file system or volume as one side has it.
type FileSystem struct {
	Name string
	Kind zfs.Kind
	GUID zfs.GUID
	// Versions are by their transaction group, of the same a snapshot before its bookmarks.
	Versions []Version
	// Token is of a partial receive, Partial what it stands for.
	Token   string
	Partial zfs.Token
	// Placeholder says that it is one: marked so, and without a snapshot. Marked alone is left by a receive in its place that was not completed.
	Placeholder, Marked bool
	// Replica, Source and Stream are the user properties of these names.
	Replica, Stream string
	Source          zfs.GUID
	ReadOnly        bool
	// Encryption is a cipher or "off", EncryptionRoot the dataset that has the key, if any.
	Encryption, EncryptionRoot string
	// WrittenBytes is how much was written since the latest snapshot, ReferencedBytes how much there is.
	WrittenBytes, ReferencedBytes uint64
}

// RootState is what a root says of its tree.
type RootState struct {
	Name       string
	Exists     bool
	Generation uint64
	// Fenced says that it was a primary of a lower generation; Replica is the job that receives into it now.
	Fenced  bool
	Replica string
	// Promoting says that a promotion to this generation has begun and not ended.
	Promoting bool
	// Frozen says that it is neither fenced nor a replica, and was made read-only: by a failback that has not ended, or a fence that was cut. A side tells it of
	// itself alone.
	Frozen bool
	// Placeholder says that it is there for those below it alone, and was not promoted: it is no primary, though it may be of a generation from the start. A side tells
	// it of itself alone.
	Placeholder bool
}

// Listing is what a side has of a job. File systems are by name.
type Listing struct {
	Roots       []RootState
	FileSystems []FileSystem
}

// Generation is the highest of the roots.
func (l Listing) Generation() uint64 {
	highest := uint64(0)
	for _, r := range l.Roots {
		highest = max(highest, r.Generation)
	}
	return highest
}

// promoting says that a promotion has begun and not ended. It has ended where another root knows of a higher generation: that is of a primary on the other side.
func (l Listing) promoting() bool {
	return slices.ContainsFunc(l.Roots, func(r RootState) bool { return r.Promoting && r.Generation == l.Generation() })
}

// behind says whether there is a root that does not know of a generation.
func (l Listing) behind(generation uint64) bool {
	return slices.ContainsFunc(l.Roots, func(r RootState) bool { return r.Exists && r.Generation < generation })
}

// Find returns a file system by its name, or nil.
func (l Listing) Find(name string) *FileSystem {
	i, ok := slices.BinarySearchFunc(l.FileSystems, name, func(f FileSystem, name string) int { return strings.Compare(f.Name, name) })
	if !ok {
		return nil
	}
	return &l.FileSystems[i]
}

// rootOf is the state of the root of a file system.
func (l Listing) rootOf(name string) RootState {
	for _, r := range l.Roots {
		if within(name, r.Name) {
			return r
		}
	}
	return RootState{}
}

// Opened says of a replica that a promotion which has not ended has opened it: it can be written to, and has its marks still.
func (l Listing) Opened(f *FileSystem) bool { return l.rootOf(f.Name).Promoting && !f.ReadOnly }

// Snapshots returns the versions that are snapshots.
func (f *FileSystem) Snapshots() []Version {
	return slices.DeleteFunc(slices.Clone(f.Versions), func(v Version) bool { return v.Bookmark })
}

// Version returns the snapshot of a GUID, or if there is none a bookmark of it, or nil.
func (f *FileSystem) Version(guid zfs.GUID) *Version {
	var found *Version
	for i := range f.Versions {
		if v := &f.Versions[i]; v.GUID == guid && (found == nil || found.Bookmark && !v.Bookmark) {
			found = v
		}
	}
	return found
}

// Snapshot returns the snapshot of a GUID, or nil.
func (f *FileSystem) Snapshot(guid zfs.GUID) *Version {
	if v := f.Version(guid); v != nil && !v.Bookmark {
		return v
	}
	return nil
}

// Whole is the whole name of a version.
func (f *FileSystem) Whole(v Version) string { return f.Name + v.suffix() }

func (v Version) suffix() string {
	if v.Bookmark {
		return "#" + v.Name
	}
	return "@" + v.Name
}

// Filled says that there is more in a placeholder than in an empty file system.
func (f *FileSystem) Filled() bool { return f.ReferencedBytes > placeholderBytes }

// cursors returns the job's cursors of a file system.
func (f *FileSystem) cursors(job string) []Version {
	return slices.DeleteFunc(slices.Clone(f.Versions), func(v Version) bool {
		of, _, ok := ParseCursor(v.Name)
		return !v.Bookmark || !ok || of != job
	})
}

// hasCursor says whether there is one of the GUID.
func (f *FileSystem) hasCursor(job string, guid zfs.GUID) bool {
	return slices.ContainsFunc(f.cursors(job), func(v Version) bool { return v.GUID == guid })
}

// parentOf is the name without its last component.
func parentOf(name string) string {
	if i := strings.LastIndexByte(name, '/'); i > 0 {
		return name[:i]
	}
	return ""
}
