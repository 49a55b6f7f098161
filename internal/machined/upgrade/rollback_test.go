package upgrade

import (
	"bytes"
	"context"
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
