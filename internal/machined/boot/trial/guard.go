package trial

import (
	"fmt"
	"sync"
	"time"
)

const (
	// Silence is how long the agent may give no sign of life during a trial.
	Silence = 3 * time.Minute
	// SignEvery is how often it gives one, the first time after so long a life.
	SignEvery = time.Minute
	// Longest is how long a trial lasts at most, since init began: longer than the
	// longest deadline that the agent can be given (package config).
	Longest = 70 * time.Minute
	// Mark begins the line by which init says in the kernel's log why it ends a
	// trial. Package crash looks for it in what the kernel leaves behind.
	Mark = "init: ending the trial of this release: "
)

// Guard watches over one boot. Its methods may be called concurrently.
type Guard struct {
	mu    sync.Mutex
	trial bool
	// began and seen are the start, and the last sign of life.
	began, seen time.Time
}

// NewGuard returns the guard of a boot that the boot loader has counted, or has
// not; the drawing is in the package's comment.
func NewGuard(counted bool, now time.Time) *Guard {
	return &Guard{trial: counted, began: now, seen: now}
}

// Alive is a sign of life.
func (g *Guard) Alive(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seen = now
}

// Settle says that the boot is no trial, or none any more; that is for good.
func (g *Guard) Settle() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.trial = false
}

// OnTrial tells whether the boot is a trial still.
func (g *Guard) OnTrial() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.trial
}

// Overdue says why the machine is to be started again; empty if it is not.
func (g *Guard) Overdue(now time.Time) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case !g.trial:
		return ""
	case now.Sub(g.seen) >= Silence:
		return fmt.Sprintf("its agent has given no sign of life for %s", Silence)
	case now.Sub(g.began) >= Longest:
		return fmt.Sprintf("it is not known to be good after %s", Longest)
	}
	return ""
}
