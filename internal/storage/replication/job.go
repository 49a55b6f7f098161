package replication

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// Direction says which side has the job. The work is the same.
type Direction string

// The directions.
const (
	Push Direction = "push"
	Pull Direction = "pull"
)

// Guarantee is how much is kept on disk for a step.
type Guarantee string

// The levels, from the most to the least.
const (
	// Resumable holds both snapshots of a step until it is over: whatever else happens, it goes on where it was cut.
	Resumable Guarantee = "resumability"
	// Incremental keeps only the cursor: snapshots may be destroyed at any time, and a step that was cut may have to begin again. On a connection
	// that is always cut before a step ends, that is for ever.
	Incremental Guarantee = "incremental"
	// Nothing keeps nothing: when the last common snapshot is destroyed, the replica has to be made anew.
	Nothing Guarantee = "none"
)

// Initial says with which snapshot a replica begins.
type Initial string

// The policies.
const (
	Latest Initial = "latest"
	All    Initial = "all"
)

// Root is a tree, and where its replica is.
type Root struct{ Source, Target string }

// Stream says how streams are made. It must not change while a replica lives: OpenZFS refuses the next stream, or keeps blocks of two sizes for one
// file.
type Stream struct{ Large, Raw bool }

// String is what is noted on the replica.
func (s Stream) String() string {
	switch {
	case s.Raw:
		return "raw"
	case s.Large:
		return "large"
	}
	return "plain"
}

// Job is one replication.
type Job struct {
	// ID is a UUID. Everything on disk is named by it.
	ID        string
	Direction Direction
	Roots     []Root
	// Filter takes datasets out, or in again; the rule of the longest path counts. A path is whole on the sending side and stands for all below it.
	Filter []Rule
	// Snapshots are beginnings of the names of snapshots that are sent; none means all.
	Snapshots []string
	Initial   Initial
	// InitialGuarantee is for the first step of a replica, Guarantee for all others.
	InitialGuarantee, Guarantee Guarantee
	Stream                      Stream
	// Properties sends the datasets' properties, too; those that would have a replica mounted are never taken. It is for senders that are trusted with all that is below
	// the destination: such a stream is a package (StreamHead of package zfs). So no document asks for it, and a peer's is refused.
	Properties bool
	Encryption Encryption
	// BytesPerSecond limits all streams of the job together; 0 does not.
	BytesPerSecond uint64
	// Checksum has the contents of each snapshot compared by a second way, where both sides can.
	Checksum bool
	// Steps and Estimates are how many are done at once; 0 means 1 and 4.
	Steps, Estimates int
	// Attempts is how often in a row a step may fail without getting further; 0 means 5.
	Attempts int
	// Returning says that it brings a role back ([Failback]): what it sends is of the primary, though that takes no writes any more.
	Returning bool
}

// Rule is a part of a filter.
type Rule struct {
	Path    string
	Include bool
}

// Check says what is wrong with a job, all of it.
func (j Job) Check() error {
	var errs []error
	wrong := func(field, format string, a ...any) {
		errs = append(errs, fmt.Errorf("job: %s: "+format, append([]any{field}, a...)...))
	}
	if id, err := uuid.Parse(j.ID); err != nil || id.String() != j.ID {
		wrong("id", "%q: want a UUID, in small letters", j.ID)
	}
	if len(j.Roots) == 0 {
		wrong("roots", "there is none")
	}
	for i, r := range j.Roots {
		if r.Source == "" || !strings.Contains(r.Target, "/") {
			wrong("roots", "%s to %s: want a dataset, and a name below a pool", r.Source, r.Target)
		}
		for _, other := range j.Roots[:i] {
			if within(r.Target, other.Target) || within(other.Target, r.Target) || within(r.Source, other.Source) || within(other.Source, r.Source) {
				wrong("roots", "%s to %s and %s to %s overlap", r.Source, r.Target, other.Source, other.Target)
			}
		}
	}
	oneOf(wrong, "direction", j.Direction, Push, Pull)
	oneOf(wrong, "initial", j.Initial, Latest, All)
	oneOf(wrong, "initialGuarantee", j.InitialGuarantee, Resumable, Incremental, Nothing)
	oneOf(wrong, "guarantee", j.Guarantee, Resumable, Incremental, Nothing)
	oneOf(wrong, "encryption", j.Encryption, "", EncryptionOff, EncryptionParent, EncryptionRaw, EncryptionAny)
	if j.Stream.Raw != (j.Encryption == EncryptionRaw) {
		wrong("encryption", "%q with raw streams %t: raw goes with raw", j.Encryption, j.Stream.Raw)
	}
	if j.Stream.Large && j.Encryption == EncryptionParent {
		wrong("stream", "large blocks come with embedded ones, which an encrypted dataset does not take")
	}
	for _, n := range []int{j.Steps, j.Estimates, j.Attempts} {
		if n < 0 {
			wrong("limits", "%d is negative", n)
		}
	}
	return errors.Join(errs...)
}

func oneOf[T ~string](wrong func(string, string, ...any), field string, got T, want ...T) {
	for _, w := range want {
		if got == w {
			return
		}
	}
	wrong(field, "%q: want one of %q", got, want)
}

// within says whether a dataset is another, or below it.
func within(name, above string) bool { return name == above || strings.HasPrefix(name, above+"/") }

// Target is the name of a dataset's replica, empty where no root covers it.
func (j Job) Target(source string) string {
	for _, r := range j.Roots {
		if within(source, r.Source) {
			return r.Target + strings.TrimPrefix(source, r.Source)
		}
	}
	return ""
}

// Sources and Targets are the roots on either side.
func (j Job) Sources() []string { return j.side(func(r Root) string { return r.Source }) }

// Targets are the roots on the receiving side.
func (j Job) Targets() []string { return j.side(func(r Root) string { return r.Target }) }

func (j Job) side(of func(Root) string) []string {
	names := make([]string, len(j.Roots))
	for i, r := range j.Roots {
		names[i] = of(r)
	}
	return names
}

// Reverse is the job in the other direction, under a UUID of its own.
func (j Job) Reverse(id string) Job {
	r := j
	r.ID, r.Roots, r.Filter = id, nil, nil
	for _, root := range j.Roots {
		r.Roots = append(r.Roots, Root{Source: root.Target, Target: root.Source})
	}
	for _, rule := range j.Filter {
		r.Filter = append(r.Filter, Rule{Path: j.Target(rule.Path), Include: rule.Include})
	}
	return r
}
