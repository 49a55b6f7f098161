package replication

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// User properties. All of them are looked at only where they are set locally, as user properties are inherited, and may come with a stream.
const (
	// PropertyPlaceholder is "on" on a file system that is there for those below it.
	PropertyPlaceholder = "dev.cyvive:placeholder"
	// PropertyReplica is the UUID of the job that receives into a dataset.
	PropertyReplica = "dev.cyvive:replica"
	// PropertySource is the GUID of the dataset that it is a replica of, by which one that was renamed is known.
	PropertySource = "dev.cyvive:source"
	// PropertyStream is how the replica's streams are made, see Stream.
	PropertyStream = "dev.cyvive:stream"
	// PropertyGeneration is the highest generation that the side of a root knows of.
	PropertyGeneration = "dev.cyvive:generation"
	// PropertyFenced is the generation by which a root was fenced.
	PropertyFenced = "dev.cyvive:fenced"
	// PropertyPromoting is the generation of a promotion that has begun and not ended.
	PropertyPromoting = "dev.cyvive:promoting"
	// PropertyBefore is what was set on a dataset of a fenced tree before it was made read-only, and a replica: a query of a URL, of values by property
	// that are empty where it was inherited. A promotion gives it back.
	PropertyBefore = "dev.cyvive:before"
)

// OwnProperties are all of them.
func OwnProperties() []string {
	return []string{
		PropertyPlaceholder, PropertyReplica, PropertySource, PropertyStream, PropertyGeneration, PropertyFenced, PropertyPromoting,
		PropertyBefore,
	}
}

// StepTag is the tag of holds of a step in progress, LastTag that of the snapshot received last.
func StepTag(job string) string { return "cyvive_step_" + job }

// LastTag is the tag of the hold on the snapshot that was received last.
func LastTag(job string) string { return "cyvive_last_" + job }

// ReverseID is the UUID of the job in the other direction, by which the role goes back. It follows from the job's, and nobody declares it. Of what is no
// UUID it is empty.
func ReverseID(job string) string {
	id, err := uuid.Parse(job)
	if err != nil {
		return ""
	}
	return uuid.NewSHA1(id, []byte("reverse")).String()
}

const cursorPrefix = "cyvive_cursor_"

// CursorName is the name, behind the '#', of the bookmark that says what the other side of a job has.
func CursorName(job string, guid zfs.GUID) string {
	return fmt.Sprintf("%s%016x_%s", cursorPrefix, uint64(guid), job)
}

// ParseCursor takes the name of a cursor apart; ok is false for other bookmarks.
func ParseCursor(name string) (job string, guid zfs.GUID, ok bool) {
	rest, ok := strings.CutPrefix(name, cursorPrefix)
	digits, job, ok2 := strings.Cut(rest, "_")
	n, err := strconv.ParseUint(digits, 16, 64)
	if !ok || !ok2 || err != nil || CursorName(job, zfs.GUID(n)) != name {
		return "", 0, false
	}
	return job, zfs.GUID(n), true
}
