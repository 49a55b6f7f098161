package servertest

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/machined/server"
)

// Upgrades is what a node does with releases. The release that comes is the one
// in Release, whatever was sent; only what begins with "bad" is refused.
type Upgrades struct {
	Status  server.UpgradeStatus
	Release server.System
	// Unfit is why the next release that is started goes back; empty lets it stay.
	Unfit string
	// TrialTime is how long a trial takes.
	TrialTime time.Duration

	pushed bool
}

var _ server.Upgrades = (*Node)(nil)

// Push implements server.Upgrades. It reads all there is.
func (n *Node) Push(_ context.Context, allow server.UpgradeAllow, r io.Reader) (server.System, error) {
	var head strings.Builder
	size, err := io.Copy(&head, io.LimitReader(r, 16))
	if err == nil {
		var more int64
		more, err = io.Copy(io.Discard, r)
		size += more
	}
	if err != nil {
		return server.System{}, fmt.Errorf("push: %w", err)
	}
	call := fmt.Sprintf("push %d bytes, downgrade %t", size, allow.Downgrade)
	if allow.WithoutExtensions {
		call += ", without extensions"
	}
	if err := n.called(call); err != nil {
		return server.System{}, err
	}
	if strings.HasPrefix(head.String(), "bad") {
		return server.System{}, fmt.Errorf("push: %w: not a whole release", server.ErrInvalid)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.Upgrades.pushed = true
	return n.Upgrades.Release, nil
}

// Pull implements server.Upgrades. What is at a source is said by its end: "missing", "bad", or a release; one that ends in "slow" is waited for first.
func (n *Node) Pull(_ context.Context, p server.Pull, progress func(server.PullProgress) error) (server.System, error) {
	if err := n.called(fmt.Sprintf("pull %s, sha256 %q, downgrade %t", p.Source, p.SHA256, p.Allow.Downgrade)); err != nil {
		return server.System{}, err
	}
	switch {
	case strings.HasSuffix(p.Source, "missing"):
		return server.System{}, fmt.Errorf("pull %s: %w: it answers 404 Not Found", p.Source, server.ErrNotFound)
	case strings.HasSuffix(p.Source, "bad"):
		return server.System{}, fmt.Errorf("pull %s: %w: not a whole release", p.Source, server.ErrInvalid)
	case strings.HasSuffix(p.Source, "slow"):
		if err := progress(server.PullProgress{Waiting: "no connection in 10s; try 2 of 5 in 1s"}); err != nil {
			return server.System{}, err
		}
	}
	const total = 100 << 20
	for received := int64(0); received <= total; received += total / 4 {
		if err := progress(server.PullProgress{ReceivedBytes: received, TotalBytes: total}); err != nil {
			return server.System{}, err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.Upgrades.pushed = true
	return n.Upgrades.Release, nil
}

// Install implements server.Upgrades.
func (n *Node) Install(_ context.Context, staged bool, progress func(written, total int64) error) (server.System, error) {
	if err := n.called(fmt.Sprintf("install, staged %t", staged)); err != nil {
		return server.System{}, err
	}
	n.mu.Lock()
	pushed, target := n.Upgrades.pushed, n.Upgrades.Release
	n.mu.Unlock()
	if !pushed {
		return server.System{}, fmt.Errorf("install: %w: no release was pushed", server.ErrPrecondition)
	}
	const total = 300 << 20
	for written := int64(0); written <= total; written += total / 3 {
		if err := progress(written, total); err != nil {
			return server.System{}, err
		}
	}
	n.Change(func(n *Node) { n.Upgrades.pushed = false })
	return target, n.arm(target, staged)
}

// Rollback implements server.Upgrades.
func (n *Node) Rollback(_ context.Context, staged bool) (server.System, error) {
	if err := n.called(fmt.Sprintf("rollback, staged %t", staged)); err != nil {
		return server.System{}, err
	}
	n.mu.Lock()
	target := n.Upgrades.Status.Other
	n.mu.Unlock()
	if target == (server.System{}) {
		return target, fmt.Errorf("roll back: %w: the other slot holds nothing that can be started", server.ErrPrecondition)
	}
	return target, n.arm(target, staged)
}

func (n *Node) arm(target server.System, staged bool) error {
	n.Change(func(n *Node) {
		n.Upgrades.Status.Stage, n.Upgrades.Status.Target, n.Upgrades.Status.Other = server.UpgradeArmed, target, target
	})
	if staged {
		return nil
	}
	return n.power("reboot")
}

// Cancel implements server.Upgrades.
func (n *Node) Cancel(context.Context) error {
	if err := n.called("cancel"); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.Upgrades.Status.Stage != server.UpgradeArmed {
		return fmt.Errorf("cancel: %w: no upgrade waits for a reboot", server.ErrPrecondition)
	}
	n.Upgrades.end("cancelled before the reboot")
	return nil
}

// UpgradeStatus implements server.Upgrades.
func (n *Node) UpgradeStatus(context.Context) (server.UpgradeStatus, error) {
	err := n.called("upgrade status")
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.Upgrades.Status, err
}

// booted starts what is armed, and after a while lets it stay or go.
func (n *Node) booted() {
	n.mu.Lock()
	defer n.mu.Unlock()
	u := &n.Upgrades
	if u.Status.Stage != server.UpgradeArmed {
		return
	}
	u.Status.Stage, u.Status.Reason = server.UpgradeTrial, "network: waiting for a carrier"
	u.Status.Running, u.Status.Other = u.Status.Target, u.Status.Running
	time.AfterFunc(u.TrialTime, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.Upgrades.Unfit != "" {
			u.Status.Running, u.Status.Other = u.Status.Other, u.Status.Running
		}
		n.Upgrades.end(n.Upgrades.Unfit)
	})
}

// end is the end of an upgrade; a reason says that it failed.
func (u *Upgrades) end(reason string) {
	from := u.Status.Running
	if reason == "" {
		from = u.Status.Other
	}
	u.Status.Last = &server.UpgradeOutcome{
		Target: u.Status.Target, From: from, Succeeded: reason == "", Reason: reason, At: time.Date(2026, 11, 23, 5, 0, 0, 0, time.UTC),
	}
	u.Status.Stage, u.Status.Target, u.Status.Reason = server.UpgradeIdle, server.System{}, ""
}
