package phases

import "time"

// Phase is one step of a shutdown.
type Phase struct {
	Name string
	// Deadline is how long the phase may last before the next one begins all
	// the same.
	Deadline time.Duration
}

// State is where a Machine is.
type State int

// States, in their only order.
const (
	Idle State = iota
	Walking
	Finished
)

func (s State) String() string {
	switch s {
	case Idle:
		return "idle"
	case Walking:
		return "walking"
	case Finished:
		return "finished"
	}
	return "unknown"
}

// EventKind is what a Machine is told.
type EventKind int

// Events. Done names the phase that is over; one that is late is ignored.
const (
	Asked EventKind = iota
	Done
	TimeReached
)

// Event is an EventKind with its phase, for Done.
type Event struct {
	Kind  EventKind
	Phase string
}

// ActionKind is what the owner of a Machine must do.
type ActionKind int

// Actions: begin a phase's work; abandon the work of a phase that is overdue;
// go down for good.
const (
	Begin ActionKind = iota
	Abandon
	GoDown
)

// Action is an ActionKind with its phase; GoDown has none.
type Action struct {
	Kind  ActionKind
	Phase string
}

// Machine decides what comes next. It has no clock and does no I/O.
//
//	       asked            done, or its deadline
//	Idle ─────────► Walking ─────────────────────► Walking (next phase)
//	                   │ done or deadline of the last phase
//	                   ▼
//	                Finished
//
// A second request while it walks changes nothing.
type Machine struct {
	phases   []Phase
	state    State
	index    int
	deadline time.Time
}

// New returns an idle Machine. phases is not changed, and must not be either.
func New(phases []Phase) *Machine { return &Machine{phases: phases} }

// State is where the Machine is.
func (m *Machine) State() State { return m.state }

// Deadline is when to send TimeReached; zero unless it walks.
func (m *Machine) Deadline() time.Time { return m.deadline }

// Step takes one event and returns what to do, in order.
func (m *Machine) Step(e Event, now time.Time) []Action {
	switch {
	case m.state == Idle && e.Kind == Asked:
		m.state = Walking
		return m.begin(now)
	case m.state == Walking && e.Kind == Done && e.Phase == m.phases[m.index].Name:
		m.index++
		return m.begin(now)
	case m.state == Walking && e.Kind == TimeReached && !now.Before(m.deadline):
		late := m.phases[m.index].Name
		m.index++
		return append([]Action{{Abandon, late}}, m.begin(now)...)
	}
	return nil
}

func (m *Machine) begin(now time.Time) []Action {
	if m.index == len(m.phases) {
		m.state, m.deadline = Finished, time.Time{}
		return []Action{{Kind: GoDown}}
	}
	p := m.phases[m.index]
	m.deadline = now.Add(p.Deadline)
	return []Action{{Begin, p.Name}}
}
