package replication

import (
	"errors"
	"fmt"
	"time"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// State is where a step is.
type State string

// The states.
//
//	          ┌──────────────── waiting ◀────────────────────────────────┐
//	          ▼                                                          │ failed, and may be tried again
//	protecting ──▶ transferring ──▶ checking ──▶ completing ──▶ advancing ──▶ done
//	                 │  ▲  ▲ failed
//	                 ▼  │  └──── aborting ◀─┐
//	              inspecting ───────────────┘ what has arrived is of no use
//
// A failed transfer is looked into before anything else: the snapshot may have arrived all the same, or a part of it. Where the job does not compare
// contents, checking is left out; what only finishes begins with it. Each action may be done twice, so a machine that is lost is begun again by the
// next plan.
const (
	Protecting   State = "protecting"
	Transferring State = "transferring"
	Inspecting   State = "inspecting"
	Aborting     State = "aborting"
	Checking     State = "checking"
	Completing   State = "completing"
	Advancing    State = "advancing"
	Waiting      State = "waiting"
	Done         State = "done"
	Failed       State = "failed"
)

// Policy is how a machine goes about failures.
type Policy struct {
	// Attempts is how many failures in a row without any progress end the step; at least 1.
	Attempts int
	// First and Most are the shortest and longest wait; each is twice the one before.
	First, Most time.Duration
	// Checksum has contents compared.
	Checksum bool
}

// Outcome is what came of the action that a state stands for.
type Outcome struct {
	Err error
	// Found is what the receiver has, for Inspecting; nil if there is nothing.
	Found *FileSystem
	// Differs says that contents were compared and differ, for Checking.
	Differs bool
}

// Machine takes one step to its end. It does nothing itself: its state says what is to be done next, and Advance takes what came of it.
type Machine struct {
	Step   Step
	policy Policy
	state  State
	// until is when waiting ends, next the state after it.
	until    time.Time
	next     State
	attempts int
	best     uint64
	err      error
}

// NewMachine returns one at the beginning of a step that sends something, or finishes what was sent.
func NewMachine(s Step, p Policy) *Machine {
	m := &Machine{Step: s, policy: p, state: Protecting}
	switch {
	case s.Kind == StepFinish && p.Checksum && !s.To.Bookmark:
		m.state = Checking
	case s.Kind == StepFinish:
		m.state = Completing
	case s.Abort != 0:
		m.state = Aborting
	}
	return m
}

// State is what is to be done.
func (m *Machine) State() State { return m.state }

// Until is when waiting ends.
func (m *Machine) Until() time.Time { return m.until }

// Err is why it failed, or waits.
func (m *Machine) Err() error { return m.err }

// Reason says in words what the step does or waits for.
func (m *Machine) Reason() string {
	switch m.state {
	case Waiting:
		return fmt.Sprintf("waits until %s to try again, as it could not go on: %v", m.until.UTC().Format(time.RFC3339), m.err)
	case Failed:
		return m.err.Error()
	}
	return string(m.state)
}

// Advance takes the outcome of the state's action, at a time, and changes the state.
func (m *Machine) Advance(now time.Time, o Outcome) {
	switch m.state {
	case Waiting:
		if !now.Before(m.until) {
			m.state = m.next
		}
	case Transferring:
		m.transferred(now, o.Err)
	case Inspecting:
		m.inspected(now, o)
	case Checking:
		m.checked(now, o)
	default:
		m.acted(now, o.Err)
	}
}

// acted is after an action that has only worked or not.
func (m *Machine) acted(now time.Time, err error) {
	if err != nil {
		m.failed(now, err, m.state)
		return
	}
	switch m.state {
	case Aborting:
		m.Step.Abort, m.Step.Token, m.state = 0, "", Protecting
	case Protecting:
		m.state = Transferring
	case Completing:
		m.state = Advancing
	case Advancing:
		m.state, m.err = Done, nil
	}
}

func (m *Machine) transferred(now time.Time, err error) {
	switch {
	case err == nil:
		m.arrived()
	case errors.Is(err, zfs.ErrBadToken):
		m.Step.Abort, m.state, m.err = m.Step.To.GUID, Aborting, err
	case permanent(err):
		m.failed(now, err, Transferring)
	default:
		m.state, m.err = Inspecting, err
	}
}

// arrived is after a transfer that is whole.
func (m *Machine) arrived() {
	m.state = Completing
	if m.policy.Checksum {
		m.state = Checking
	}
}

// inspected decides how to go on after a transfer that failed, for the reason in err.
func (m *Machine) inspected(now time.Time, o Outcome) {
	why := m.err
	switch f := o.Found; {
	case o.Err != nil:
		m.failed(now, errors.Join(why, o.Err), Inspecting)
	case f != nil && f.Snapshot(m.Step.To.GUID) != nil:
		m.arrived()
	case f != nil && f.Token != "" && f.Partial.To == m.Step.To.GUID && f.Partial.From == m.Step.From.GUID:
		if f.Partial.BytesReceived > m.best {
			m.best, m.attempts = f.Partial.BytesReceived, 0
		}
		m.Step.Token = f.Token
		m.failed(now, why, Protecting)
	default:
		m.Step.Token = ""
		m.failed(now, why, Protecting)
	}
}

func (m *Machine) checked(now time.Time, o Outcome) {
	switch {
	case errors.Is(o.Err, ErrUnsupported):
		m.state = Completing
	case o.Err != nil:
		m.failed(now, o.Err, Checking)
	case o.Differs:
		m.state = Failed
		m.err = fmt.Errorf("compare %s with %s: contents differ, though the stream was taken as whole", m.Step.Source+m.Step.To.suffix(), m.Step.Target)
	default:
		m.state = Completing
	}
}

// failed waits and goes on with a state, or gives up.
func (m *Machine) failed(now time.Time, err error, next State) {
	m.err = err
	m.attempts++
	if permanent(err) || m.attempts >= max(m.policy.Attempts, 1) {
		m.state = Failed
		return
	}
	wait := m.policy.First << min(m.attempts-1, 20)
	m.until, m.next, m.state = now.Add(min(wait, m.policy.Most)), next, Waiting
}

// permanent says that trying again would not help: somebody has to decide, or a new plan is needed.
func permanent(err error) bool {
	var conflict *Conflict
	if errors.As(err, &conflict) {
		return true
	}
	if errors.Is(err, zfs.ErrPartial) {
		return false // another receive was begun meanwhile, or this one is known only now
	}
	for _, class := range []error{
		ErrFenced, ErrChanged, ErrUnsupported, zfs.ErrModified, zfs.ErrNoBase, zfs.ErrExist, zfs.ErrInvalid, zfs.ErrReadOnly, zfs.ErrHeld,
		zfs.ErrHasDependents, zfs.ErrNotExist,
	} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}
