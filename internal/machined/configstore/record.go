package configstore

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Errors of changes that the state does not allow.
var (
	ErrTrying    = errors.New("a revision is being tried")
	ErrNotTrying = errors.New("no revision is being tried")
	ErrNotFound  = errors.New("no such revision")
)

// Record says which revisions count. The zero Record is that of a node which has none.
type Record struct {
	// Sequence grows with each Record that is written.
	Sequence uint64 `json:"sequence"`
	// Newest is the highest number that was given to a revision.
	Newest uint64 `json:"newest"`
	// Current is the revision that the node has, also while it is being tried; 0 is none.
	Current uint64 `json:"current"`
	// Owned says that a revision was applied over the API, or staged and has become current: sources are not asked any more, even where none can be read.
	Owned bool `json:"owned,omitempty"`
	// Boot is the kernel's boot_id, and Base the revision that fields have in it which need a reboot to change.
	Boot string `json:"boot"`
	Base uint64 `json:"base,omitempty"`
	// Staged and Trying are nil if nothing is.
	Staged *Staged `json:"staged,omitempty"`
	Trying *Trying `json:"trying,omitempty"`
	// Past are the revisions that were current before, the oldest first, without those that were tried and taken back.
	Past []uint64 `json:"past,omitempty"`
	// Last is how the last trial, or the last attempt to use a revision, ended.
	Last *Outcome `json:"last,omitempty"`
}

// Staged is a revision that takes effect with another boot than Boot.
type Staged struct {
	Revision uint64 `json:"revision"`
	Boot     string `json:"boot"`
}

// Trying is a trial of the current revision.
type Trying struct {
	// Back is the revision that was current before.
	Back uint64 `json:"back"`
	// Boot is the kernel's boot_id, Until the time since its start at which the trial ends.
	Boot  string        `json:"boot"`
	Until time.Duration `json:"until"`
}

// Outcome is how a trial ended.
type Outcome struct {
	Revision  uint64    `json:"revision"`
	Succeeded bool      `json:"succeeded"`
	Reason    string    `json:"reason,omitempty"`
	At        time.Time `json:"at"`
}

// maxPast bounds Past: more than the store keeps.
const maxPast = 2 * Keep

// become makes n the current revision, and has the old one in Past.
func (r Record) become(n uint64) Record {
	if r.Current != 0 && r.Current != n {
		r.Past = append(slices.Clone(r.Past), r.Current)
		r.Past = r.Past[max(0, len(r.Past)-maxPast):]
	}
	r.Current = n
	return r
}

// Applied makes n the current revision; whole says that nothing of it waits for a reboot. What was staged is given up.
func (r Record) Applied(n uint64, whole bool) (Record, error) {
	if err := r.Busy(); err != nil {
		return r, err
	}
	r = r.become(n)
	r.Staged, r.Owned = nil, true
	if whole {
		r.Base = n
	}
	return r, nil
}

// Found makes n, which a source of configurations had for a node without one, the current revision. What is staged takes effect with the next boot all the same.
func (r Record) Found(n uint64) (Record, error) {
	if err := r.Busy(); err != nil {
		return r, err
	}
	r = r.become(n)
	r.Base = n
	return r, nil
}

// Own says that the record tells what the node is to be, and no source is to be asked: there is a current revision, wherever it came from, or there was one that was
// applied. Releases before had a source asked once in each boot until one was applied, and do so again where the node goes back to them; they noted in the record
// that they had ("asked").
func (r Record) Own() bool { return r.Current != 0 || r.Owned }

// Unstages gives up what is staged.
func (r Record) Unstages() (Record, error) {
	r.Staged = nil
	return r, nil
}

// Stages has n take effect with the next boot.
func (r Record) Stages(n uint64) (Record, error) {
	if err := r.Busy(); err != nil {
		return r, err
	}
	r.Staged = &Staged{Revision: n, Boot: r.Boot}
	return r, nil
}

// Tries makes n the current revision until a time since the kernel's start.
func (r Record) Tries(n uint64, until time.Duration) (Record, error) {
	if err := r.Busy(); err != nil {
		return r, err
	}
	r.Trying = &Trying{Back: r.Current, Boot: r.Boot, Until: until}
	r.Current, r.Staged = n, nil
	return r, nil
}

// Confirmed ends the trial, and the revision stays.
func (r Record) Confirmed(n uint64, whole bool, now time.Time) (Record, error) {
	if r.Trying == nil || n != 0 && n != r.Current {
		return r, ErrNotTrying
	}
	tried, back := r.Current, r.Trying.Back
	r.Trying, r.Current, r.Owned = nil, back, true
	r = r.become(tried)
	if whole {
		r.Base = tried
	}
	r.Last = &Outcome{Revision: tried, Succeeded: true, At: now.UTC()}
	return r, nil
}

// Reverted ends the trial, and the revision before is current again.
func (r Record) Reverted(reason string, now time.Time) (Record, error) {
	if r.Trying == nil {
		return r, ErrNotTrying
	}
	r.Last = &Outcome{Revision: r.Current, Reason: reason, At: now.UTC()}
	r.Current, r.Trying = r.Trying.Back, nil
	return r, nil
}

// Left is how much time a trial has, at a time since the kernel's start.
func (r Record) Left(since time.Duration) time.Duration {
	if r.Trying == nil {
		return 0
	}
	return max(r.Trying.Until-since, 0)
}

// Started takes over what an agent finds when it starts, which may be more than once in a boot. The second result says that something changed.
func (r Record) Started(boot string, since time.Duration, now time.Time) (Record, bool) {
	if r.Boot == boot {
		if r.Trying != nil && r.Left(since) == 0 {
			r, _ = r.Reverted(notConfirmed, now)
			return r, true
		}
		return r, false
	}
	r.Boot = boot
	if r.Trying != nil {
		r, _ = r.Reverted("the node was started again before it was confirmed", now)
	}
	if s := r.Staged; s != nil {
		r.Staged, r.Owned = nil, true
		r = r.become(s.Revision)
	}
	r.Base = r.Current
	return r, true
}

// notConfirmed is the reason of a trial that nobody confirmed.
const notConfirmed = "it was not confirmed in time"

// Unusable gives up the current revision, which cannot be read, for the newest one before it; none is left when Current is 0 then.
func (r Record) Unusable(reason string, now time.Time) Record {
	bad := r.Current
	if r.Trying != nil {
		r, _ = r.Reverted(reason, now)
	} else {
		r.Current = 0
		if n := len(r.Past); n > 0 {
			r.Current, r.Past = r.Past[n-1], slices.Clone(r.Past[:n-1])
		}
		r.Last = &Outcome{Revision: bad, Reason: reason, At: now.UTC()}
	}
	if r.Base == bad || r.Base == 0 {
		r.Base = r.Current
	}
	return r
}

// FallsBack makes a revision of the past current again, in the place of one that the running release cannot use. Those between the two count no more.
func (r Record) FallsBack(to uint64, reason string, now time.Time) (Record, error) {
	if err := r.Busy(); err != nil {
		return r, err
	}
	i := slices.Index(r.Past, to)
	if i < 0 {
		return r, fmt.Errorf("fall back to revision %d: %w", to, ErrNotFound)
	}
	if given := append(slices.Clone(r.Past[i+1:]), r.Current, 0); slices.Contains(given, r.Base) {
		r.Base = to
	}
	r.Last = &Outcome{Revision: r.Current, Reason: reason, At: now.UTC()}
	r.Current, r.Past = to, slices.Clone(r.Past[:i])
	return r, nil
}

// Previous is the revision that was current before, 0 if there was none.
func (r Record) Previous() uint64 {
	if r.Trying != nil {
		return r.Trying.Back
	}
	if len(r.Past) == 0 {
		return 0
	}
	return r.Past[len(r.Past)-1]
}

// needs says that a revision must not be dropped.
func (r Record) needs(n uint64) bool {
	// A trial that is taken back leaves the one before as it was.
	past := len(r.Past) > 0 && n == r.Past[len(r.Past)-1]
	return n == r.Current || n == r.Base || n == r.Previous() || past || r.Staged != nil && n == r.Staged.Revision
}

// Busy is an error while a revision is being tried; it says what can be done about it.
func (r Record) Busy() error {
	if r.Trying == nil {
		return nil
	}
	return fmt.Errorf("%w: revision %d; confirm it, roll it back, or wait until the node goes back to revision %d by itself", ErrTrying, r.Current, r.Trying.Back)
}
