package replication

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// ConflictKind is why a file system cannot be replicated before a person has decided something.
type ConflictKind string

// The kinds.
const (
	// Diverged: the replica has later snapshots than the latest common one.
	Diverged ConflictKind = "Diverged"
	// Modified: the replica was written to since its latest snapshot.
	Modified ConflictKind = "Modified"
	// NoCommonBase: both sides have snapshots, and none in common.
	NoCommonBase ConflictKind = "NoCommonBase"
	// SnapshotOrder: common snapshots have another order on the two sides.
	SnapshotOrder ConflictKind = "SnapshotOrder"
	// SnapshotName: the replica has another snapshot of the name that would be received.
	SnapshotName ConflictKind = "SnapshotName"
	// NotReplica: what is at the target was not made by the job.
	NotReplica ConflictKind = "NotReplica"
	// Renamed: the replica is at another place, since the dataset was renamed.
	Renamed ConflictKind = "Renamed"
	// PlaceholderChanged: the placeholder in the way was written to, or opened for writing.
	PlaceholderChanged ConflictKind = "PlaceholderChanged"
	// KindDiffers: one is a volume, the other a file system.
	KindDiffers ConflictKind = "KindDiffers"
	// StreamDiffers: the replica's streams were made in another way than the job says.
	StreamDiffers ConflictKind = "StreamDiffers"
	// EncryptionDiffers: the replica is, or would be, encrypted otherwise than the job says.
	EncryptionDiffers ConflictKind = "EncryptionDiffers"
	// PartialForeign: a partial receive is in the way that is not the job's.
	PartialForeign ConflictKind = "PartialForeign"
)

// Conflict says what is in the way, and what may be decided. It is an error.
type Conflict struct {
	Kind ConflictKind
	// Source and Target are the names on the two sides.
	Source, Target string
	// Detail is for a person.
	Detail string
	// Options are decisions that would resolve it. Where there are none, the job or one of the sides has to be changed.
	Options []Decision
}

// Error implements error.
func (c *Conflict) Error() string {
	text := fmt.Sprintf("replicate to %s: %s: %s", c.Target, c.Kind, c.Detail)
	for i, o := range c.Options {
		lead := "; or "
		if i == 0 {
			lead = "; to decide: "
		}
		text += lead + o.String()
	}
	return text
}

// DecisionKind is what is to be done about a conflict.
type DecisionKind string

// The kinds.
const (
	// RollBack takes the replica back to a common snapshot, and destroys what is named.
	RollBack DecisionKind = "RollBack"
	// SetAside renames the replica, with all below it, and begins anew.
	SetAside DecisionKind = "SetAside"
	// Adopt makes a replica of what is there.
	Adopt DecisionKind = "Adopt"
	// Keep promotes a replica with what was changed in it. It is for a promotion alone.
	Keep DecisionKind = "Keep"
	// FollowRename renames the replica as the dataset was.
	FollowRename DecisionKind = "FollowRename"
	// AbortPartial throws a partial receive away.
	AbortPartial DecisionKind = "AbortPartial"
)

// Decision is one that a person made. It is of what was there when it was made; where that has changed it does nothing, and the conflict stays.
type Decision struct {
	Kind   DecisionKind
	Target string
	// To is the snapshot that is rolled back to, or that a partial receive is of.
	To zfs.GUID
	// Destroys are the later snapshots ("@name") and bookmarks ("#name") that rolling back destroys; Changes says that what was written since is
	// lost, too.
	Destroys []string
	Changes  bool
	// Name is the new name of what is set aside, or the old one of what was renamed.
	Name string
}

// Equal says whether two are the same.
func (d Decision) Equal(o Decision) bool {
	return d.Kind == o.Kind && d.Target == o.Target && d.To == o.To && slices.Equal(d.Destroys, o.Destroys) && d.Changes == o.Changes && d.Name == o.Name
}

// String says what will be done.
func (d Decision) String() string {
	switch d.Kind {
	case RollBack:
		loss := slices.Clone(d.Destroys)
		if d.Changes {
			loss = append(loss, "what was written since the latest snapshot")
		}
		if len(loss) == 0 {
			return fmt.Sprintf("roll %s back to the snapshot %s", d.Target, d.To)
		}
		return fmt.Sprintf("roll %s back to the snapshot %s, which destroys %s", d.Target, d.To, strings.Join(loss, ", "))
	case SetAside:
		return fmt.Sprintf("rename %s to %s and begin anew", d.Target, d.Name)
	case Adopt:
		return fmt.Sprintf("make %s a replica, read-only and not mounted", d.Target)
	case Keep:
		return fmt.Sprintf("promote %s with what was changed in it", d.Target)
	case FollowRename:
		return fmt.Sprintf("rename %s to %s", d.Name, d.Target)
	case AbortPartial:
		return fmt.Sprintf("throw the partial receive of %s in %s away", d.To, d.Target)
	}
	return string(d.Kind)
}
