package machined

import (
	"cmp"
	"time"
)

// Pace is how long the agent waits where nothing tells it of a change. A field of zero is that of [DefaultPace].
type Pace struct {
	// SearchFor is how long the network waits for a configuration volume before it falls back to DHCP: devices may still be appearing. SlowSearch is the
	// time between two looks for a configuration after that.
	SearchFor, SlowSearch time.Duration
	// StateGrace is how long the state volume may have a problem until the sources are asked without it. A node without its state volume runs no
	// cluster, but it can be reached, and says what is wrong.
	StateGrace time.Duration
	// Retry is the time between two tries of what failed and changes little by itself: walls, extensions and resets.
	Retry time.Duration
	// GateGrace is how long the beginning of an upgrade waits for gates that do not hold. What does not hold after it is not asked of the new release.
	GateGrace time.Duration
	// KeepLogs is the time between two looks at what services wrote, which is kept on the data volume: as much of it may a power cut take.
	KeepLogs time.Duration
}

// DefaultPace is that of a node.
func DefaultPace() Pace {
	return Pace{SearchFor: 5 * time.Second, SlowSearch: 5 * time.Second, StateGrace: 10 * time.Second, Retry: 5 * time.Second, GateGrace: 15 * time.Second, KeepLogs: 10 * time.Second}
}

func (p Pace) withDefaults() Pace {
	d := DefaultPace()
	return Pace{
		SearchFor: cmp.Or(p.SearchFor, d.SearchFor), SlowSearch: cmp.Or(p.SlowSearch, d.SlowSearch),
		StateGrace: cmp.Or(p.StateGrace, d.StateGrace), Retry: cmp.Or(p.Retry, d.Retry), GateGrace: cmp.Or(p.GateGrace, d.GateGrace),
		KeepLogs: cmp.Or(p.KeepLogs, d.KeepLogs),
	}
}
