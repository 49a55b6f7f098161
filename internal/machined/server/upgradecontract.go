package server

import (
	"context"
	"io"
	"time"
)

// UpgradeStage is where an upgrade is.
type UpgradeStage int

// The stages; see the protos for what they mean.
const (
	UpgradeIdle UpgradeStage = iota + 1
	UpgradeWriting
	UpgradeArmed
	UpgradeTrial
	UpgradeReverting
)

// System is a release in a slot; the zero System is none.
type System struct {
	Version  string
	Slot     string // "a" or "b"
	RootHash string // 64 hexadecimal digits
}

// UpgradeGate is one condition of a good release.
type UpgradeGate struct {
	Name   string
	Holds  bool
	Reason string // what is missing; empty when it holds
	Since  time.Time
	Waived bool // it is not asked for this time
}

// UpgradeOutcome is how an upgrade ended.
type UpgradeOutcome struct {
	Target, From System
	Succeeded    bool
	Reason       string // empty where it succeeded
	At           time.Time
}

// UpgradeStatus is what a node knows of its upgrades.
type UpgradeStatus struct {
	Stage                  UpgradeStage
	Running, Other, Target System
	Reason                 string // of a trial and of a way back; else empty
	// WrittenBytes of TotalBytes are in the slot that is being written.
	WrittenBytes, TotalBytes int64
	Gates                    []UpgradeGate
	Deadline                 time.Duration   // of a trial, since the kernel's start
	Last                     *UpgradeOutcome // nil on a node that never had one
}

// UpgradeAllow is what a release may be beside a newer one that fits all.
type UpgradeAllow struct {
	// Downgrade: it is older. WithoutExtensions: extensions of the configuration are
	// not there for it.
	Downgrade, WithoutExtensions bool
}

// Pull says what is to be fetched, and how it is to be judged.
type Pull struct {
	Source string
	SHA256 string // of the file, in hexadecimal digits; empty takes any
	Allow  UpgradeAllow
}

// PullProgress is how far a pull is.
type PullProgress struct {
	ReceivedBytes, TotalBytes int64  // the total is 0 while it is not known
	Waiting                   string // for a person; empty while bytes come
}

// Upgrades takes a node from one release to another. Safe for concurrent use.
// Before the node knows about itself, every method is ErrUnavailable; on a node
// that was not started from a slot, ErrPrecondition. What the stage does not allow
// is ErrPrecondition.
type Upgrades interface {
	// Push keeps the bundle that r brings. It is ErrInvalid where that is no whole
	// release, ErrDenied where nobody that the node trusts has signed it,
	// ErrPrecondition where this node cannot take it. It reads no further than it
	// must to refuse, and returns an error of r's as it is, wrapped.
	Push(ctx context.Context, allow UpgradeAllow, r io.Reader) (System, error)
	// Pull is Push of what the node itself fetches. It calls progress from one
	// goroutine, and gives up with progress' error or the context's end. Of the
	// source it is ErrInvalid where that is none, ErrNotFound where nothing is
	// there, ErrPrecondition where the node does not get it or cannot use it, and
	// ErrUnavailable where it cannot be fetched now.
	Pull(ctx context.Context, p Pull, progress func(PullProgress) error) (System, error)
	// Install writes what was pushed into the other slot and arms it, and unless it
	// is staged begins the ordered reboot. It calls progress from one goroutine, and
	// gives up with progress' error or the context's end.
	Install(ctx context.Context, staged bool, progress func(written, total int64) error) (System, error)
	// Rollback arms the other slot as it is.
	Rollback(ctx context.Context, staged bool) (System, error)
	// Cancel gives up what is armed.
	Cancel(ctx context.Context) error
	// UpgradeStatus tells where the node is.
	UpgradeStatus(ctx context.Context) (UpgradeStatus, error)
}
