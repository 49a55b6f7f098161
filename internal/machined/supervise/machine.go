package supervise

import "time"

// State is what a service does.
type State int

// The states of a service; see Machine for how they follow each other.
const (
	Stopped State = iota
	Running
	Waiting
	Stopping
)

func (s State) String() string {
	switch s {
	case Stopped:
		return "stopped"
	case Running:
		return "running"
	case Waiting:
		return "waiting"
	case Stopping:
		return "stopping"
	}
	return "unknown"
}

// EventKind is what happened to a service.
type EventKind int

// Events. Exited stands for a failed start too.
const (
	StartAsked EventKind = iota
	StopAsked
	RestartAsked
	RetireAsked // a stop by another signal than SIGTERM, and without deadline
	Exited
	TimeReached
)

// Action is what the owner of a Machine must do next.
type Action int

// Actions.
const (
	Nothing Action = iota
	Spawn
	Terminate // SIGTERM
	Retire    // the signal of the request
	Kill      // SIGKILL
)

// Policy is how patient a Machine is.
type Policy struct {
	FirstDelay, MaxDelay time.Duration // between an exit and the next start; doubles
	Steady               time.Duration // a run this long resets the delay
	StopTimeout          time.Duration // between SIGTERM and SIGKILL
}

// Machine decides the life of one service. It has no clock and does no I/O.
//
//	           start                    exit
//	Stopped ──────────────► Running ─────────────► Waiting
//	  ▲ ▲                    │   ▲                  │   │
//	  │ │          stop,     │   │  delay is over   │   │ stop
//	  │ │         restart,   │   └──────────────────┘   │
//	  │ │ exit               ▼                          │
//	  │ └──────────────── Stopping ──► Running          │
//	  │                   (kill when    (exit, when a   │
//	  │                   overdue)      start is asked) │
//	  └─────────────────────────────────────────────────┘
type Machine struct {
	policy   Policy
	state    State
	again    bool // Stopping, and to be started after the exit
	restarts int
	delay    time.Duration
	since    time.Time
	deadline time.Time
}

// NewMachine returns a stopped service.
func NewMachine(p Policy, now time.Time) *Machine {
	return &Machine{policy: p, since: now}
}

// State, since when.
func (m *Machine) State() (State, time.Time) { return m.state, m.since }

// Restarts is how often the service was started again after it exited unasked.
func (m *Machine) Restarts() int { return m.restarts }

// Deadline is when to send TimeReached; zero when there is nothing to wait for.
func (m *Machine) Deadline() time.Time { return m.deadline }

// Step takes one event and says what to do.
func (m *Machine) Step(e EventKind, now time.Time) Action {
	switch m.state {
	case Stopped:
		if e == StartAsked || e == RestartAsked {
			m.delay = 0
			return m.enter(Running, now, time.Time{}, Spawn)
		}
	case Running:
		switch e {
		case StopAsked, RestartAsked:
			m.again = e == RestartAsked
			return m.enter(Stopping, now, now.Add(m.policy.StopTimeout), Terminate)
		case RetireAsked:
			return m.enter(Stopping, now, time.Time{}, Retire)
		case Exited:
			m.nextDelay(now)
			return m.enter(Waiting, now, now.Add(m.delay), Nothing)
		}
	case Waiting:
		switch {
		case e == StopAsked, e == RetireAsked:
			return m.enter(Stopped, now, time.Time{}, Nothing)
		case e == TimeReached && !now.Before(m.deadline), e == StartAsked, e == RestartAsked:
			m.restarts++
			return m.enter(Running, now, time.Time{}, Spawn)
		}
	case Stopping:
		return m.stepStopping(e, now)
	}
	return Nothing
}

func (m *Machine) stepStopping(e EventKind, now time.Time) Action {
	switch e {
	case StartAsked, RestartAsked:
		m.again = true
	case StopAsked:
		m.again = false
	case RetireAsked:
		m.again, m.deadline = false, time.Time{}
		return Retire
	case Exited:
		if m.again {
			m.again, m.delay = false, 0
			return m.enter(Running, now, time.Time{}, Spawn)
		}
		return m.enter(Stopped, now, time.Time{}, Nothing)
	case TimeReached:
		if !m.deadline.IsZero() && !now.Before(m.deadline) {
			m.deadline = now.Add(m.policy.StopTimeout)
			return Kill
		}
	}
	return Nothing
}

func (m *Machine) enter(s State, now, deadline time.Time, a Action) Action {
	m.state, m.since, m.deadline = s, now, deadline
	return a
}

func (m *Machine) nextDelay(now time.Time) {
	switch {
	case m.delay == 0, now.Sub(m.since) >= m.policy.Steady:
		m.delay = m.policy.FirstDelay
	default:
		m.delay = min(2*m.delay, m.policy.MaxDelay)
	}
}
