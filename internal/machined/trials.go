package machined

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyvive/cyvive/internal/machined/boot/trial"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/supervise/control"
	"github.com/cyvive/cyvive/internal/machined/upgrade"
)

const (
	// upgradeRetry is the time between two looks at what failed, upgradePause the shortest between any two: reasons change often while a node
	// comes up, and each change of one is written to the disk.
	upgradeRetry = 5 * time.Second
	upgradePause = time.Second
	// undecidedGrace is how long after its deadline a trial goes on that cannot be decided about. It is also the time that an agent has to find out
	// what it decides by: any agent of a boot may have been started again, long after the deadline and with nothing wrong.
	undecidedGrace = 2 * time.Minute
	// recordRetry is the longest time between two tries to store that a release was blessed.
	recordRetry = time.Minute
	// initTimeout is for init to answer.
	initTimeout = 10 * time.Second
)

// upgradeTask leads this boot's trial to its end, if it is one. It is of one goroutine.
type upgradeTask struct {
	a *Agent
	// began is the task's start, opened when the keeper was there; zero until then.
	began, opened time.Time
	signed        time.Time // when init got the last sign of life, at first the task's start
	// behind is how long was waited last for a place for the record of a blessing.
	behind time.Duration
}

// keepUpgrades opens the keeper of upgrades once the state volume is there, and returns to it while this boot is a trial. What comes later is
// for the API to begin and for the next boot to end.
func (a *Agent) keepUpgrades(ctx context.Context) error {
	t := &upgradeTask{a: a, began: a.now(), signed: a.now()}
	var version uint64
	for {
		again, settled := t.look(ctx)
		if settled && t.tellInit(ctx, false) {
			a.renewLoader()
			<-ctx.Done()
			return ctx.Err()
		}
		wait, cancel := context.WithTimeout(ctx, again)
		_, version, _ = a.store.Watch(wait, version) // the end of the time is one way to return
		cancel()
		if !sleep(ctx, upgradePause) {
			return ctx.Err()
		}
	}
}

// renewLoader has the boot loader replaced that the running release brings a newer one than. It is called when that stays: who starts both slots is not changed by
// a release that may be a bad one. There is no way back from it by itself, so it is done once in a boot, and what fails is for the next.
func (a *Agent) renewLoader() {
	if a.cfg.Upgrades == nil || a.cfg.Upgrades.Renew == nil {
		return
	}
	done, err := a.cfg.Upgrades.Renew()
	switch {
	case err != nil:
		a.log.Error("the boot loader stays as it is", "error", err)
		a.events.Add(server.EventAgent, "boot loader", "not replaced", err.Error())
	case done != "":
		a.log.Info("the boot loader was replaced", "by", done)
		a.events.Add(server.EventAgent, "boot loader", "replaced", done)
	}
}

// look does what is to be done now. It returns when to look again at the latest, and whether this boot is no trial, or none any more.
func (t *upgradeTask) look(ctx context.Context) (again time.Duration, settled bool) {
	a := t.a
	if a.cfg.Upgrades == nil {
		return upgradeRetry, true
	}
	k := a.keeper.Load()
	var err error
	if s := a.snapshot(); k == nil && s.identity {
		k, err = a.openKeeper(ctx, s.crash)
	}
	if k == nil || err != nil {
		a.upgradeFailed(err)
		t.endUndecided(ctx, err)
		t.signLife(ctx)
		return upgradeRetry, false
	}
	if t.opened.IsZero() {
		t.opened = a.now()
	}
	s := a.snapshot() // much may have come while the keeper was opened
	again, err = k.Look(ctx, gates(s), t.deadline(s))
	a.upgradeFailed(err)
	status, _ := k.Status()
	switch stage := status.Record.Stage; {
	case err != nil && k.Blessed():
		// The release stays. Only the record does not know it yet: a reboot would take nothing back.
		t.tellInit(ctx, false)
		t.behind = min(max(2*t.behind, upgradeRetry), recordRetry)
		sleep(ctx, t.behind)
		return upgradePause, false
	case err != nil:
		t.endUndecided(ctx, err)
		again = upgradeRetry
	case stage == upgrade.Reverting:
		// The reboot is under way, or init makes it so, where the boot loader has counted: it gets no sign of life.
		t.goBack(ctx, status.Record)
		return upgradeRetry, false
	case stage != upgrade.Trial:
		return upgradeRetry, true
	}
	t.signLife(ctx)
	return max(min(again, upgradeRetry), upgradePause), false
}

// goBack asks for the reboot again that a release goes back by, unless the machine is going down.
func (t *upgradeTask) goBack(ctx context.Context, r upgrade.Record) {
	if err := t.a.end(ctx, control.Reboot, goingBack(r)); err != nil && !errors.Is(err, server.ErrPrecondition) {
		t.a.log.Error("go back to the release before", "error", err)
		sleep(ctx, upgradeRetry)
	}
}

// deadline is how long after the kernel's start a trial has to be good. While no configuration is there to say it, the agent has undecidedGrace to find one.
func (t *upgradeTask) deadline(s snapshot) time.Duration {
	d := s.deadline()
	if left := t.opened.Add(undecidedGrace).Sub(t.a.now()); s.input.Config == nil && left > 0 {
		d = max(d, t.a.cfg.Timeline.Now()+left)
	}
	return d
}

// endUndecided starts the machine again when a trial is over its deadline and nothing can be decided about it: the boot loader counts. Whether this boot is a
// trial is for init to say, also where the agent has a record of one: what the boot loader does not count would begin again for ever.
func (t *upgradeTask) endUndecided(ctx context.Context, why error) {
	a := t.a
	if a.now().Sub(t.began) < undecidedGrace || a.cfg.Timeline.Now() < a.snapshot().deadline()+undecidedGrace || !t.onTrial(ctx) {
		return
	}
	if why == nil {
		why = errors.New("the state volume is not there")
	}
	reason := fmt.Sprintf("the trial of version %s ends undecided: %v", a.cfg.Boot.Version.OS, why)
	if err := a.end(ctx, control.Reboot, reason); err != nil && !errors.Is(err, server.ErrPrecondition) {
		a.log.Error("end an upgrade's trial", "error", err)
	}
}

// signLife tells init, now and then, that the agent is alive: package trial says when.
func (t *upgradeTask) signLife(ctx context.Context) {
	if now := t.a.now(); now.Sub(t.signed) >= trial.SignEvery && t.tellInit(ctx, true) {
		t.signed = now
	}
}

// tellInit says whether this boot is a trial still.
func (t *upgradeTask) tellInit(ctx context.Context, on bool) bool {
	ctx, cancel := context.WithTimeout(ctx, initTimeout)
	defer cancel()
	if err := t.a.cfg.Init.Trial(ctx, on); err != nil {
		t.a.log.Warn("tell init of the trial", "on", on, "error", err)
		return false
	}
	return true
}

// onTrial asks init whether this boot is a trial. Without an answer it counts as none: init is also who would end it.
func (t *upgradeTask) onTrial(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, initTimeout)
	defer cancel()
	on, err := t.a.cfg.Init.OnTrial(ctx)
	if err != nil {
		t.a.log.Warn("ask init whether this boot is a trial", "error", err)
	}
	return on && err == nil
}
