package upgrade

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"testing"
)

// TestWaived: the trial is not asked for what holds neither before a slot is written nor after it. What comes to hold meanwhile is asked for, as is what breaks.
func TestWaived(t *testing.T) {
	m := newMachine(t)
	m.start()
	written := ""
	m.keeper.cfg.Gates = func(context.Context) []Gate {
		written = m.slots["b"]
		return []Gate{{Name: "broken"}, {Name: "slow", Holds: true}, {Name: "breaks"}, {Name: "new"}, {Name: ExtensionsGate, Holds: true}}
	}
	before := []Gate{{Name: "broken"}, {Name: "slow"}, {Name: "breaks", Holds: true}, {Name: "gone"}, {Name: ExtensionsGate, Holds: true}}
	waived := func() []string {
		s, _ := m.keeper.Status()
		return s.Record.Waived
	}
	if _, err := m.keeper.Push(t.Context(), Allow{}, bytes.NewReader(bundle(t, 1, "1.1.0", "2", nil))); err != nil {
		t.Fatal(err)
	}
	if _, err := m.keeper.Install(t.Context(), before); err != nil || !slices.Equal(waived(), []string{"broken"}) {
		t.Errorf("%v, not asked for %q", err, waived())
	}
	if written != rootHash("2") {
		t.Errorf("when the gates were looked at again slot b held %q", written)
	}
	if err := m.keeper.Cancel(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := m.keeper.Rollback(t.Context(), withoutExtensions(before)); err != nil || !slices.Equal(waived(), []string{"broken", ExtensionsGate}) {
		t.Errorf("rolled back: %v, not asked for %q", err, waived())
	}
}

// TestRollbackBesideAPush: a push that does not get on, as where its caller or the pool under it does not, keeps nobody from the way back; what it brings is kept apart from it.
func TestRollbackBesideAPush(t *testing.T) {
	m := newMachine(t)
	m.install("1.1.0", "2")
	m.reboot()
	if _, err := m.keeper.Look(t.Context(), healthy(), deadline); err != nil || m.stage() != Idle {
		t.Fatalf("the trial: %v, stage %s", err, m.stage())
	}
	whole := bundle(t, 1, "1.2.0", "3", nil)
	from, to := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		_, err := m.keeper.Push(t.Context(), Allow{}, from)
		_ = from.Close() // it need not read to the end
		ended <- err
	}()
	half := len(whole) / 2
	if _, err := to.Write(whole[:half]); err != nil {
		t.Fatal(err)
	}
	if _, err := m.keeper.Install(t.Context(), healthy()); !errors.Is(err, ErrBusy) {
		t.Errorf("install beside it: %v", err)
	}
	if _, err := m.keeper.Push(t.Context(), Allow{}, bytes.NewReader(whole)); !errors.Is(err, ErrBusy) {
		t.Errorf("another push beside it: %v", err)
	}
	back, err := m.keeper.Rollback(t.Context(), healthy())
	if err != nil || back.Version != "1.0.0" || m.stage() != Armed {
		t.Fatalf("roll back beside it: %+v, %v, stage %s", back, err, m.stage())
	}
	_, _ = to.Write(whole[half:])
	if err := errors.Join(to.Close(), <-ended); err != nil {
		t.Fatalf("the push: %v", err)
	}
	if _, err := m.keeper.Install(t.Context(), healthy()); !errors.Is(err, ErrBusy) || m.stage() != Armed {
		t.Errorf("installed over the way back: %v, stage %s", err, m.stage())
	}
	m.reboot()
	if m.running.Version != "1.0.0" {
		t.Errorf("version %s runs", m.running.Version)
	}
}
