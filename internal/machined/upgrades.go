package machined

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cyvive/cyvive/internal/extension"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/ledger"
	"github.com/cyvive/cyvive/internal/machined/pull"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/supervise/control"
	"github.com/cyvive/cyvive/internal/machined/upgrade"
	"github.com/cyvive/cyvive/internal/release"
)

// Upgrades is what the agent needs to take the node from one release to another. All fields are needed but Keys, Floor, Opens, Starts, Renew, FreeBytes
// and PullTimeouts.
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
	// Renew replaces the boot loader by that of the running release, if this is newer, and says what was done; empty is nothing. Nil leaves it as it is.
	Renew func() (string, error)
	// Pushed is the directory for a release that was pushed, on the data volume. FreeBytes is what a directory's file system has left.
	Pushed    string
	FreeBytes func(dir string) (int64, error)
	// PullTimeouts bound what servers of releases may take.
	PullTimeouts pull.Timeouts
}

// openKeeper finds out where the node is, and does what this start asks for.
func (a *Agent) openKeeper(ctx context.Context, crash string) (*upgrade.Keeper, error) {
	u, v := a.cfg.Upgrades, a.cfg.Boot.Version
	cfg := upgrade.Config{
		Log: a.log, Now: a.now, Record: a.upgradeRecord(), Pushed: u.Pushed, FreeBytes: u.FreeBytes,
		Boot: a.cfg.Boot.ID, SinceBoot: a.cfg.Timeline.Now, Crash: crash,
		Running:      upgrade.System{Version: v.OS, RootHash: v.RootHash, Slot: v.Slot},
		Architecture: u.Architecture, Floor: u.Floor, Keys: u.Keys, Slots: u.Slots, Entries: u.Entries, Opens: u.Opens, Starts: u.Starts,
		Gates:   a.currentGates,
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

// gates are what has to hold for a release to stay: its API, all else that health is made of but what the node is ready without (of the time as timeIsGate
// says), and what the configuration asks for besides.
func gates(s snapshot) []upgrade.Gate {
	api := upgrade.Gate{Name: "api", Holds: s.listening, Since: s.listeningSince}
	if !s.listening {
		api.Reason = "the API does not listen yet"
	}
	out := []upgrade.Gate{api}
	for _, c := range s.checks {
		if c.Name != upgradeCheck && !c.Aside {
			out = append(out, upgrade.Gate{Name: c.Name, Holds: c.Healthy, Since: c.Since, Reason: c.Reason})
		}
	}
	return append(out, s.extraGates()...)
}

// goingBack says where to and why, of a record that is Reverting.
func goingBack(r upgrade.Record) string {
	return fmt.Sprintf("going back to version %s: %s", r.From.Version, r.Reason)
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
		reason = goingBack(u.Record)
	}
	return []server.Check{check(upgradeCheck, reason == "", reason)}
}
