package upgrade

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Stage is where an upgrade is.
type Stage string

// The stages; the drawing is in the package's comment.
const (
	Idle      Stage = "idle"
	Writing   Stage = "writing"
	Armed     Stage = "armed"
	Trial     Stage = "trial"
	Reverting Stage = "reverting"
)

const (
	// Settle is how long all gates must hold without a break.
	Settle = 30 * time.Second
	// Tries is how often the boot loader starts a release that was not blessed: twice, so that a power cut is not taken for its fault.
	Tries = 2
)

// System is a release in a slot.
type System struct {
	Version  string `json:"version"`
	RootHash string `json:"rootHash"`
	// Slot is a or b.
	Slot string `json:"slot"`
}

// Record is the state of the machine. The zero Record is Idle.
type Record struct {
	Stage Stage `json:"stage"`
	// Target is the release that the node is on the way to, From the one that it comes from.
	Target System `json:"target,omitzero"`
	From   System `json:"from,omitzero"`
	// Kept says that the slot holds the target already, and only its entry is made anew: a way back. What is in the slot is never given up then.
	Kept bool `json:"kept,omitempty"`
	// Boot is the kernel's boot_id: of the boot that armed the target while Armed, of the last trial while Trial or Reverting.
	Boot string `json:"boot,omitempty"`
	// Waived are the gates that held neither before the slot was written nor after it. The target is not asked for them: it may be meant to mend what they are about.
	Waived []string `json:"waived,omitempty"`
	// Reason is why the trial failed while Reverting, and what it waits for while Trial.
	Reason string `json:"reason,omitempty"`
	// Last is the upgrade before.
	Last *Outcome `json:"last,omitempty"`
}

// Outcome is how an upgrade ended.
type Outcome struct {
	Target    System    `json:"target"`
	From      System    `json:"from"`
	Succeeded bool      `json:"succeeded"`
	Reason    string    `json:"reason,omitempty"`
	At        time.Time `json:"at"`
}

// Action is what is to be done. Every action may be repeated.
type Action struct {
	Do Do
	// Slot is that of the entry.
	Slot string
	// Text is for the ledger.
	Text string
	// Boot is the boot that a Note is about; empty for one that left no entry in the ledger.
	Boot   string
	System System
}

// Do is the kind of an action.
type Do string

// The actions.
const (
	// Bless takes the counter off the entry: the release stays.
	Bless Do = "bless"
	// Spoil leaves the entry no tries: the boot loader passes over it.
	Spoil Do = "spoil"
	// Forget removes the entry: what is in the slot is no release, or is not wanted.
	Forget Do = "forget"
	// Note writes the reason of a boot's end into the ledger.
	Note Do = "note"
	// Reboot starts the machine again.
	Reboot Do = "reboot"
)

// Errors of calls that the stage does not allow.
var (
	ErrBusy = errors.New("an upgrade is under way")
	ErrIdle = errors.New("no upgrade waits for a reboot")
)

// Busy is an error while another upgrade is under way; it says where that is.
func (r Record) Busy() error {
	switch r.Stage {
	case "", Idle:
		return nil
	case Armed:
		return fmt.Errorf("%w: version %s is in slot %s and starts with the next reboot; reboot, or cancel it", ErrBusy, r.Target.Version, r.Target.Slot)
	case Writing:
		return fmt.Errorf("%w: version %s is being written into slot %s; if nobody writes it any more, cancel it", ErrBusy, r.Target.Version, r.Target.Slot)
	}
	return fmt.Errorf("%w: to version %s, now %s", ErrBusy, r.Target.Version, r.Stage)
}

// Begin starts an upgrade: the target's slot may be written once the actions are done.
func (r Record) Begin(target, from System) (Record, []Action, error) {
	if err := r.Busy(); err != nil {
		return r, nil, err
	}
	return Record{Stage: Writing, Target: target, From: from, Last: r.Last}, []Action{{Do: Forget, Slot: target.Slot}}, nil
}

// BeginBack starts the way to what the target's slot holds already. Its entry stays until the new one is there: without one nobody would know of it.
func (r Record) BeginBack(target, from System) (Record, error) {
	if err := r.Busy(); err != nil {
		return r, err
	}
	return Record{Stage: Writing, Target: target, From: from, Kept: true, Last: r.Last}, nil
}

// giveUp is what is done about an entry that was being made, or its slot.
func (r Record) giveUp() []Action {
	if r.Kept {
		return []Action{{Do: Spoil, Slot: r.Target.Slot}}
	}
	return []Action{{Do: Forget, Slot: r.Target.Slot}}
}

// Written says that slot and entry of the target are on the disk. The gates that do not hold are those that the target is not asked for.
func (r Record) Written(boot string, gates []Gate) Record {
	if r.Stage != Writing {
		return r
	}
	r.Stage, r.Boot = Armed, boot
	for _, g := range gates {
		if !g.Holds {
			r.Waived = append(r.Waived, g.Name)
		}
	}
	return r
}

// Abandon ends an upgrade whose slot or entry could not be written.
func (r Record) Abandon(reason string, now time.Time) (Record, []Action) {
	if r.Stage != Writing {
		return r, nil
	}
	return r.ended(false, reason, now), r.giveUp()
}

// Cancel ends an upgrade that waits for the reboot. What is in the slot stays there, and can be rolled back to.
func (r Record) Cancel(now time.Time) (Record, []Action, error) {
	if r.Stage != Armed {
		return r, nil, ErrIdle
	}
	return r.ended(false, "cancelled before the reboot", now), []Action{{Do: Spoil, Slot: r.Target.Slot}}, nil
}

// Start is what an agent finds when it starts.
type Start struct {
	// Boot is the kernel's boot_id.
	Boot    string
	Running System
	// Other is the release in the other slot, the zero System if there is none.
	Other System
	// Counted says that the running system's entry has a counter still.
	Counted bool
	// Untried says that the boot loader has not counted a start of the target's entry.
	Untried bool
	// Crash is what is known of how the boot before ended, other than in order; empty if nothing is.
	Crash string
}

// Started takes what an agent finds when it starts, which may be more than once in a boot.
func (r Record) Started(s Start, now time.Time) (Record, []Action) {
	onTarget := r.Target.RootHash != "" && s.Running.RootHash == r.Target.RootHash
	switch r.Stage {
	case Writing, Armed:
		switch {
		case onTarget:
			return r.tried(s, now)
		case r.Stage == Writing:
			why := "interrupted while it was written; nothing of the running system was changed"
			if r.Kept {
				why = "interrupted before its boot entry was ready; it is in its slot still"
			}
			return r.ended(false, why, now), r.giveUp()
		case r.Boot == s.Boot:
			return r, nil // the reboot is to come
		case s.Untried:
			return r.ended(false, "it was not started: another entry was, or it was being cancelled when the power failed", now), []Action{{Do: Spoil, Slot: r.Target.Slot}}
		}
		return r.returned(s, "it was started and left no word: it ended before its agent had the state volume", "", now)
	case Trial:
		if onTarget {
			return r.tried(s, now)
		}
		why := "it stopped without a word"
		if r.Reason != "" {
			why += " while it waited: " + r.Reason
		}
		return r.returned(s, why, r.Boot, now)
	case Reverting:
		if onTarget {
			return r, []Action{{Do: Spoil, Slot: s.Running.Slot}, {Do: Reboot, Text: r.why()}}
		}
		return r.ended(false, r.Reason, now), []Action{{Do: Spoil, Slot: r.Target.Slot}}
	case Idle, "":
	default: // of another version of this package
		r = Record{Stage: Idle, Last: r.Last}
	}
	if s.Counted {
		// The record was lost, or the slot was written by another hand.
		return Record{Target: s.Running, From: s.Other, Last: r.Last}.tried(s, now)
	}
	return r, nil
}

// tried is the target's own start.
func (r Record) tried(s Start, now time.Time) (Record, []Action) {
	if !s.Counted { // blessed, and then cut off
		return r.ended(true, "", now), nil
	}
	r.Stage, r.Boot, r.Reason = Trial, s.Boot, ""
	return r, nil
}

// returned is the start of the old system after a trial that did not say why it ended.
func (r Record) returned(s Start, otherwise, boot string, now time.Time) (Record, []Action) {
	reason := otherwise
	if s.Crash != "" {
		reason = s.Crash
	}
	next := r.ended(false, reason, now)
	return next, []Action{
		{Do: Spoil, Slot: r.Target.Slot},
		{Do: Note, Boot: boot, System: r.Target, Text: "fell back to version " + s.Running.Version + ": " + reason},
	}
}

func (r Record) ended(succeeded bool, reason string, now time.Time) Record {
	return Record{Stage: Idle, Last: &Outcome{Target: r.Target, From: r.From, Succeeded: succeeded, Reason: reason, At: now.UTC()}}
}

// Gate is one condition of a good start.
type Gate struct {
	Name  string
	Holds bool
	// Since is when it last changed.
	Since time.Time
	// Reason says what is missing.
	Reason string
}

// Look takes the gates during a trial; since is the time since the kernel's start, deadline until when they must hold: one
// that is too short sends good releases back, until a long one a bad release keeps the node from work. The time after which to look again, if nothing changes before,
// comes with it; zero outside of a trial.
func (r Record) Look(gates []Gate, now time.Time, since, deadline time.Duration) (Record, []Action, time.Duration) {
	if r.Stage != Trial {
		return r, nil, 0
	}
	missing, held := r.missing(gates, now)
	switch {
	case len(missing) == 0 && held >= Settle:
		return r.ended(true, "", now), []Action{{Do: Bless, Slot: r.Target.Slot}}, 0
	case since >= deadline:
		r.Stage = Reverting
		r.Reason = fmt.Sprintf("not well %s after its start: %s", deadline, cmp.Or(strings.Join(missing, "; "), "its gates did not hold for "+Settle.String()))
		return r, []Action{
			{Do: Note, Boot: r.Boot, System: r.Target, Text: r.why()},
			{Do: Spoil, Slot: r.Target.Slot},
			{Do: Reboot, Text: r.why()},
		}, 0
	}
	r.Reason = strings.Join(missing, "; ")
	next := deadline - since
	if len(missing) == 0 {
		next = min(next, Settle-held)
	}
	return r, nil, next
}

// why is the reason of the way back, for the ledger.
func (r Record) why() string { return "going back to version " + r.From.Version + ": " + r.Reason }

// missing are the gates that do not hold and are asked for, and for how long all of them have held.
func (r Record) missing(gates []Gate, now time.Time) (missing []string, held time.Duration) {
	held = Settle
	for _, g := range gates {
		if slices.Contains(r.Waived, g.Name) {
			continue
		}
		if !g.Holds {
			missing = append(missing, g.Name+": "+g.Reason)
		}
		held = min(held, now.Sub(g.Since))
	}
	if len(gates) == 0 {
		return []string{"nothing is known of it yet"}, 0
	}
	return missing, held
}
