package machined

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cyvive/cyvive/internal/machined/pull"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/supervise/control"
	"github.com/cyvive/cyvive/internal/machined/upgrade"
	"github.com/cyvive/cyvive/internal/release"
)

// upgradesAPI implements server.Upgrades.
type upgradesAPI struct{ a *Agent }

// keeper returns the keeper of upgrades, or says why there is none.
func (v upgradesAPI) keeper() (*upgrade.Keeper, error) {
	if v.a.cfg.Upgrades == nil {
		return nil, fmt.Errorf("%w: this node was not started from a slot of a disk, so there is nothing to upgrade", server.ErrPrecondition)
	}
	k := v.a.keeper.Load()
	if k == nil {
		return nil, fmt.Errorf("%w: the node does not know its slots yet: %s", server.ErrUnavailable, first(v.a.snapshot().upgradeProblem, "waiting for the state volume"))
	}
	return k, nil
}

// changing is keeper for what changes the node, which must not be going down, nor on the way to a reset: that would wipe under a release on trial.
func (v upgradesAPI) changing() (*upgrade.Keeper, error) {
	if err := v.a.noReset(); err != nil {
		return nil, err
	}
	v.a.ending.mu.Lock()
	defer v.a.ending.mu.Unlock()
	if v.a.ending.asked {
		return nil, fmt.Errorf("%w: the machine is going down (%s)", server.ErrPrecondition, v.a.ending.reason)
	}
	return v.keeper()
}

// Push implements server.Upgrades.
func (v upgradesAPI) Push(ctx context.Context, allow server.UpgradeAllow, r io.Reader) (server.System, error) {
	k, err := v.changing()
	if err != nil {
		return server.System{}, err
	}
	target, err := k.Push(ctx, upgrade.Allow(allow), r)
	return system(target), classed(err)
}

// Pull implements server.Upgrades.
func (v upgradesAPI) Pull(ctx context.Context, p server.Pull, progress func(server.PullProgress) error) (server.System, error) {
	k, err := v.changing()
	if err != nil {
		return server.System{}, err
	}
	from, err := pull.ParseSource(p.Source)
	if err != nil {
		return server.System{}, classed(err)
	}
	cfg := pull.Config{Servers: v.a.snapshot().releaseServers(), Architecture: v.a.cfg.Upgrades.Architecture, Timeouts: v.a.cfg.Upgrades.PullTimeouts}
	r, err := pull.NewReader(ctx, cfg, from, p.SHA256, func(at pull.Progress) error {
		return progress(server.PullProgress{ReceivedBytes: at.Bytes, TotalBytes: at.TotalBytes, Waiting: at.Waiting})
	})
	if err != nil {
		return server.System{}, classed(err)
	}
	defer r.Close()
	v.a.log.Info("pull a release", "source", from.String())
	target, err := k.Push(ctx, upgrade.Allow(p.Allow), r)
	if failed := r.Err(); failed != nil { // the rest follows from it
		return server.System{}, classed(failed)
	}
	if errors.Is(err, release.ErrMalformed) && r.ContentType() != "" {
		err = fmt.Errorf("%w (%s calls it %q)", err, from, r.ContentType())
	}
	return system(target), classed(err)
}

// releaseServers are the servers of releases that the configuration names.
func (s snapshot) releaseServers() []pull.Server {
	if s.input.Config == nil {
		return nil
	}
	var out []pull.Server
	for _, from := range s.input.Config.Machine.Upgrade.Sources {
		known := pull.Server{Host: from.Host, CA: from.CA}
		if c := from.Credentials; c != nil {
			known.Username, known.Password = c.Username, c.Password
		}
		out = append(out, known)
	}
	return out
}

// settled are the gates that an upgrade begins with.
func (v upgradesAPI) settled(ctx context.Context, k *upgrade.Keeper) ([]upgrade.Gate, error) {
	if s, _ := k.Status(); s.Record.Busy() != nil { // on trial, say, which the node is coming up in too
		return nil, classed(s.Record.Busy())
	}
	found, err := v.a.settledGates(ctx)
	if err != nil {
		return nil, err
	}
	return found, v.a.noReset() // one may have been ordered meanwhile
}

// Install implements server.Upgrades.
func (v upgradesAPI) Install(ctx context.Context, staged bool, progress func(written, total int64) error) (server.System, error) {
	k, err := v.changing()
	if err != nil {
		return server.System{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		target upgrade.System
		err    error
	}
	found, err := v.settled(ctx, k)
	if err != nil {
		return server.System{}, err
	}
	ended := make(chan result, 1)
	go func() {
		target, err := k.Install(ctx, found)
		ended <- result{target, err}
	}()
	var told upgrade.Written
	var lost error
	for {
		s, changed := k.Status()
		if w := s.Written; lost == nil && w != told && w.TotalBytes > 0 {
			told = w
			if lost = progress(w.Bytes, w.TotalBytes); lost != nil {
				cancel()
			}
		}
		select {
		case <-changed:
		case r := <-ended:
			if r.err != nil {
				return system(r.target), classed(errors.Join(lost, r.err))
			}
			return system(r.target), v.reboot(ctx, staged, "upgrade to version "+r.target.Version)
		}
	}
}

// Rollback implements server.Upgrades.
func (v upgradesAPI) Rollback(ctx context.Context, staged bool) (server.System, error) {
	k, err := v.changing()
	if err != nil {
		return server.System{}, err
	}
	found, err := v.settled(ctx, k)
	if err != nil {
		return server.System{}, err
	}
	target, err := k.Rollback(ctx, found)
	if err != nil {
		return system(target), classed(err)
	}
	return system(target), v.reboot(ctx, staged, "roll back to version "+target.Version)
}

// reboot starts what is armed, unless that is left to others. The caller may have hung up: what is armed would start with the next boot anyway.
func (v upgradesAPI) reboot(ctx context.Context, staged bool, reason string) error {
	if staged {
		return nil
	}
	return v.a.end(context.WithoutCancel(ctx), control.Reboot, reason)
}

// Cancel implements server.Upgrades.
func (v upgradesAPI) Cancel(ctx context.Context) error {
	k, err := v.changing()
	if err != nil {
		return err
	}
	return classed(k.Cancel(ctx))
}

// UpgradeStatus implements server.Upgrades.
func (v upgradesAPI) UpgradeStatus(context.Context) (server.UpgradeStatus, error) {
	k, err := v.keeper()
	if err != nil {
		return server.UpgradeStatus{}, err
	}
	s, _ := k.Status()
	r, now := s.Record, v.a.snapshot()
	out := server.UpgradeStatus{
		Stage: stages[r.Stage], Running: system(s.Running), Other: system(s.Other), Target: system(r.Target), Reason: r.Reason,
		WrittenBytes: s.Written.Bytes, TotalBytes: s.Written.TotalBytes, Deadline: now.deadline(),
	}
	if r.Stage == "" {
		out.Stage = server.UpgradeIdle
	}
	for _, g := range gates(now) {
		out.Gates = append(out.Gates, server.UpgradeGate{
			Name: g.Name, Holds: g.Holds, Reason: g.Reason, Since: g.Since, Waived: slices.Contains(r.Waived, g.Name),
		})
	}
	if l := r.Last; l != nil {
		out.Last = &server.UpgradeOutcome{Target: system(l.Target), From: system(l.From), Succeeded: l.Succeeded, Reason: l.Reason, At: l.At}
	}
	return out, nil
}

var stages = map[upgrade.Stage]server.UpgradeStage{
	upgrade.Idle: server.UpgradeIdle, upgrade.Writing: server.UpgradeWriting, upgrade.Armed: server.UpgradeArmed,
	upgrade.Trial: server.UpgradeTrial, upgrade.Reverting: server.UpgradeReverting,
}

func system(s upgrade.System) server.System {
	return server.System{Version: s.Version, Slot: s.Slot, RootHash: s.RootHash}
}

// classed gives an error of an upgrade the class by which the API tells it on. What is none of the caller's doing stays as it is.
func classed(err error) error {
	for class, errs := range map[error][]error{
		server.ErrInvalid: {release.ErrMalformed, release.ErrAltered, pull.ErrSource},
		server.ErrDenied:  {release.ErrUntrusted},
		server.ErrPrecondition: {
			release.ErrUnwanted, upgrade.ErrBusy, upgrade.ErrIdle, upgrade.ErrNothingPushed, upgrade.ErrNoRoom, upgrade.ErrNoOther,
			pull.ErrRefused, pull.ErrUnfit,
		},
		server.ErrNotFound:    {pull.ErrNone},
		server.ErrUnavailable: {pull.ErrServer},
	} {
		for _, e := range errs {
			if errors.Is(err, e) {
				return fmt.Errorf("%w: %w", class, err)
			}
		}
	}
	return err
}
