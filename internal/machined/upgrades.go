package machined

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/cyvive/cyvive/internal/extension"
	"github.com/cyvive/cyvive/internal/machined/boot/trial"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/ledger"
	"github.com/cyvive/cyvive/internal/machined/pull"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/supervise/control"
	"github.com/cyvive/cyvive/internal/machined/upgrade"
	"github.com/cyvive/cyvive/internal/release"
)

// Upgrades is what the agent needs to take the node from one release to another. All fields are needed but Keys, Floor, Opens, FreeBytes and
// PullTimeouts.
type Upgrades struct {
	Slots   upgrade.Slots
	Entries upgrade.Entries
	// Architecture and Floor are those of the running release, Keys the ones that it trusts.
	Architecture, Floor string
	Keys                []ed25519.PublicKey
	// Opens says whether a kernel image, once it runs, opens what is encrypted on this node; nil is for a node on which nothing can be.
	Opens func(kernel io.ReaderAt) error
	// Starts says whether the machine's firmware would start a kernel image; nil is for firmware that starts any.
	Starts func(kernel *io.SectionReader) error
	// Pushed is the directory for a release that was pushed, on the data volume. FreeBytes is what a directory's file system has left.
	Pushed    string
	FreeBytes func(dir string) (int64, error)
	// PullTimeouts bound what servers of releases may take.
	PullTimeouts pull.Timeouts
	// Counted says that the boot loader has counted this start: the boot is a trial, as far as it knows.
	Counted bool
}

const (
	// upgradeRetry is the time between two looks at what failed, upgradePause the shortest between any two: reasons change often while a node
	// comes up, and each change of one is written to the disk.
	upgradeRetry = 5 * time.Second
	upgradePause = time.Second
	// undecidedGrace is how long after its deadline a trial goes on that cannot be decided about.
	undecidedGrace = 2 * time.Minute
	// initTimeout is for init to answer.
	initTimeout = 10 * time.Second
)

// upgradeTask leads this boot's trial to its end, if it is one. It is of one goroutine.
type upgradeTask struct {
	a      *Agent
	signed time.Time // when init got the last sign of life, at first the task's start
}

// keepUpgrades opens the keeper of upgrades once the state volume is there, and returns to it while this boot is a trial. What comes later is
// for the API to begin and for the next boot to end.
func (a *Agent) keepUpgrades(ctx context.Context) error {
	t := &upgradeTask{a: a, signed: a.now()}
	var version uint64
	for {
		again, settled := t.look(ctx)
		if settled && t.tellInit(ctx, false) {
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

// look does what is to be done now. It returns when to look again at the latest, and whether this boot is no trial, or none any more.
func (t *upgradeTask) look(ctx context.Context) (again time.Duration, settled bool) {
	a, s := t.a, t.a.snapshot()
	if a.cfg.Upgrades == nil {
		return upgradeRetry, true
	}
	k := a.keeper.Load()
	var err error
	if k == nil && s.identity {
		k, err = a.openKeeper(ctx, s.crash)
	}
	if k == nil || err != nil {
		a.upgradeFailed(err)
		t.endUndecided(ctx, a.cfg.Upgrades.Counted, err)
		t.signLife(ctx)
		return upgradeRetry, false
	}
	again, err = k.Look(ctx, gates(s), s.deadline())
	a.upgradeFailed(err)
	status, _ := k.Status()
	switch stage := status.Record.Stage; {
	case err != nil && k.Blessed():
		// The release stays. Only the record does not know it yet: a reboot would take nothing back.
		t.tellInit(ctx, false)
		return upgradeRetry, false
	case err != nil:
		t.endUndecided(ctx, true, err)
		again = upgradeRetry
	case stage == upgrade.Reverting:
		// The reboot is under way, or init makes it so: it gets no sign of life.
		return upgradeRetry, false
	case stage != upgrade.Trial:
		return upgradeRetry, true
	}
	t.signLife(ctx)
	return max(min(again, upgradeRetry), upgradePause), false
}

// endUndecided starts the machine again when a trial is over its deadline and nothing can be decided about it: the boot loader counts.
func (t *upgradeTask) endUndecided(ctx context.Context, onTrial bool, why error) {
	a := t.a
	if !onTrial || a.cfg.Timeline.Now() < a.snapshot().deadline()+undecidedGrace {
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

// openKeeper finds out where the node is, and does what this start asks for.
func (a *Agent) openKeeper(ctx context.Context, crash string) (*upgrade.Keeper, error) {
	u, v := a.cfg.Upgrades, a.cfg.Boot.Version
	cfg := upgrade.Config{
		Log: a.log, Now: a.now, Record: filepath.Join(a.cfg.StateDir, "upgrade.json"), Pushed: u.Pushed, FreeBytes: u.FreeBytes,
		Boot: a.cfg.Boot.ID, SinceBoot: a.cfg.Timeline.Now, Crash: crash,
		Running:      upgrade.System{Version: v.OS, RootHash: v.RootHash, Slot: v.Slot},
		Architecture: u.Architecture, Floor: u.Floor, Keys: u.Keys, Slots: u.Slots, Entries: u.Entries, Opens: u.Opens, Starts: u.Starts,
		Note:    a.noteEnd,
		Reboot:  func(ctx context.Context, reason string) error { return a.end(ctx, control.Reboot, reason) },
		Changed: a.upgradeChanged,
	}
	if a.cfg.Extensions != nil {
		cfg.Suits = a.suits
	}
	k, err := upgrade.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	a.keeper.Store(k)
	a.upgradeChanged()
	return k, nil
}

// suits says whether the extensions of the next boot's configuration are there for a release.
func (a *Agent) suits(kernel io.ReaderAt, version string) error {
	next, err := a.nextConfig()
	if err != nil {
		return err
	}
	wanted := wantedExtensions(next)
	if len(wanted) == 0 {
		return nil
	}
	uname, err := release.KernelRelease(kernel)
	if err != nil {
		return err
	}
	return a.cfg.Extensions.Suits(wanted, extension.Node{Architecture: a.cfg.Upgrades.Architecture, Kernel: uname, OS: version})
}

// noteEnd writes into the ledger why a boot ended.
func (a *Agent) noteEnd(boot string, s upgrade.System, text string) error {
	l := a.history.get()
	if l == nil {
		return errors.New("note the end of a boot: the ledger is not open")
	}
	return l.Note(a.cfg.Boot.ID, ledger.Boot{ID: boot, Version: s.Version, RootHash: s.RootHash, Slot: s.Slot, Reason: text})
}

// upgradeChanged takes over what the keeper knows.
func (a *Agent) upgradeChanged() {
	k := a.keeper.Load()
	if k == nil {
		return // it is being opened
	}
	a.update(func(s *snapshot) {
		status, _ := k.Status()
		s.upgrade = &status
	})
}

// upgradeFailed takes over why nothing can be decided, or that it can.
func (a *Agent) upgradeFailed(err error) {
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	if problem == a.snapshot().upgradeProblem {
		return
	}
	if err != nil {
		a.log.Error("look after the upgrade", "error", err)
	}
	a.update(func(s *snapshot) { s.upgradeProblem = problem })
}

// deadline is how long after the kernel's start a trial has to be good.
func (s snapshot) deadline() time.Duration {
	if s.input.Config == nil {
		return config.DefaultUpgradeDeadline
	}
	return s.input.Config.Machine.Upgrade.Deadline
}

// gates are what has to hold for a release to stay: its API, all else that health is made of (of the time only as timeIsGate says), and what the
// configuration asks for besides.
func gates(s snapshot) []upgrade.Gate {
	api := upgrade.Gate{Name: "api", Holds: s.listening, Since: s.listeningSince}
	if !s.listening {
		api.Reason = "the API does not listen yet"
	}
	out := []upgrade.Gate{api}
	for _, c := range s.checks {
		if c.Name != upgradeCheck && (c.Name != timeCheck || s.timeIsGate()) {
			out = append(out, upgrade.Gate{Name: c.Name, Holds: c.Healthy, Since: c.Since, Reason: c.Reason})
		}
	}
	return append(out, s.extraGates()...)
}

// upgradeCheck is the name of the health check of upgrades. It is no gate.
const upgradeCheck = "upgrade"

// upgradeHealth is in order unless the running release is on trial. A node that was not started from a slot has no such check.
func upgradeHealth(s snapshot) []server.Check {
	if !s.upgradable {
		return nil
	}
	var reason string
	switch u := s.upgrade; {
	case s.upgradeProblem != "":
		reason = s.upgradeProblem
	case u == nil:
		reason = "waiting for the state volume"
	case u.Record.Stage == upgrade.Trial:
		wait := "that all else is in order for " + upgrade.Settle.String()
		if u.Record.Reason != "" {
			wait = u.Record.Reason
		}
		reason = fmt.Sprintf("version %s is on trial and waits for: %s", u.Running.Version, wait)
	case u.Record.Stage == upgrade.Reverting:
		reason = fmt.Sprintf("going back to version %s: %s", u.Record.From.Version, u.Record.Reason)
	}
	return []server.Check{check(upgradeCheck, reason == "", reason)}
}
