package upgrade

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// failing is a boot loader whose partition takes nothing for a moment.
type failing struct {
	Entries
	err *error
}

func (f failing) Forget(slot string) error {
	if *f.err != nil {
		return *f.err
	}
	return f.Entries.Forget(slot)
}

func (m *machine) push(version, root string) {
	m.t.Helper()
	if _, err := m.keeper.Push(m.t.Context(), Allow{}, bytes.NewReader(bundle(m.t, 1, version, root, nil))); err != nil {
		m.t.Fatal(err)
	}
}

// TestPartitionFailsForAMoment: the slot's entry cannot be written, and just then nothing can be given up either. Afterwards each call goes on from there.
func TestPartitionFailsForAMoment(t *testing.T) {
	for name, again := range map[string]func(context.Context, *machine) error{
		"install":   func(ctx context.Context, m *machine) error { _, err := m.keeper.Install(ctx, healthy()); return err },
		"roll back": func(ctx context.Context, m *machine) error { _, err := m.keeper.Rollback(ctx, healthy()); return err },
		"cancel":    func(ctx context.Context, m *machine) error { return m.keeper.Cancel(ctx) },
		"push": func(ctx context.Context, m *machine) error {
			_, err := m.keeper.Push(ctx, Allow{}, bytes.NewReader(bundle(m.t, 1, "1.2.0", "3", nil)))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			var down error
			m.keeper.cfg.Entries = failing{m.keeper.cfg.Entries, &down}
			m.push("1.1.0", "2")
			m.putting = func(string) error { down = errors.New("input/output error"); return down }
			if _, err := m.keeper.Install(t.Context(), healthy()); err == nil || !strings.Contains(err.Error(), "nor can it be given up") {
				t.Fatalf("install: %v", err)
			}
			m.putting = nil
			if err := again(t.Context(), m); err == nil {
				t.Error("the partition is out still, and that was no error")
			}
			down = nil
			if err := again(t.Context(), m); err != nil && !errors.Is(err, ErrNoOther) {
				t.Error(err)
			}
			if s := m.stage(); s == Writing {
				t.Errorf("stage %s", s)
			}
		})
	}
}

// TestStateFullWhenArmed: the slot and its entry are written, and that they are cannot be noted. The release is not started then, and can be installed once there is
// room.
func TestStateFullWhenArmed(t *testing.T) {
	m := newMachine(t)
	m.push("1.1.0", "2")
	record := filepath.Join(m.dir, "state/upgrade.json")
	m.putting = func(step string) error {
		if step == "made" { // the volume takes nothing more
			return errors.Join(os.Rename(record, record+".was"), os.Mkdir(record, 0o700))
		}
		return nil
	}
	if _, err := m.keeper.Install(t.Context(), healthy()); err == nil || !strings.Contains(err.Error(), "note that version 1.1.0 is ready") {
		t.Fatalf("install: %v", err)
	}
	m.putting = nil
	if err := errors.Join(os.Remove(record), os.Rename(record+".was", record)); err != nil {
		t.Fatal(err)
	}
	m.reboot()
	if m.running.Slot != "a" || m.stage() != Idle {
		t.Errorf("version %s runs, stage %s; want the one that ran, and idle", m.running.Version, m.stage())
	}
	if _, err := m.keeper.Install(t.Context(), healthy()); err != nil {
		t.Errorf("another try: %v", err)
	}
}
