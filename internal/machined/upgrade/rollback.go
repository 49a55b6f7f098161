package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cyvive/cyvive/internal/release"
)

// Rollback arms what is in the other slot. Extensions may not be there for it, and it is not asked for them.
func (k *Keeper) Rollback(ctx context.Context, gates []Gate) (System, error) {
	if !k.work.TryLock() {
		return System{}, fmt.Errorf("roll back: %w: an installation is at work", ErrBusy)
	}
	defer k.work.Unlock()
	if err := k.giveUpLeft(ctx); err != nil {
		return System{}, fmt.Errorf("roll back: %w", err)
	}
	s, _ := k.Status()
	if s.Other == (System{}) {
		return System{}, fmt.Errorf("roll back: %w", ErrNoOther)
	}
	if err := k.otherRuns(s.Other); err != nil {
		return System{}, fmt.Errorf("roll back: %w", err)
	}
	if k.cfg.Suits != nil {
		gates = withoutExtensions(gates)
	}
	next, err := s.Record.BeginBack(s.Other, k.cfg.Running)
	if err != nil {
		return s.Other, fmt.Errorf("roll back: %w", err)
	}
	err = k.arm(ctx, next, nil, gates, func() error { return k.cfg.Entries.Put(s.Other.Slot, s.Other.Version, Tries, nil) })
	if err != nil {
		return s.Other, fmt.Errorf("roll back: %w", err)
	}
	return s.Other, nil
}

// otherRuns refuses what Push would refuse of the release in the other slot: one below the floor, since the running one may have written what it does not
// understand; and one that the firmware would not start or that would not open the disk, whose keys may be others than when it ran.
func (k *Keeper) otherRuns(s System) error {
	if err := (release.Node{Version: k.cfg.Running.Version, Floor: k.cfg.Floor}).CanRun(s.Version); err != nil {
		return err
	}
	if k.cfg.Starts == nil && k.cfg.Opens == nil {
		return nil
	}
	return k.cfg.Entries.Kernel(s.Slot, func(kernel *io.SectionReader) error {
		if err := k.bootable(kernel); err != nil {
			return fmt.Errorf("the release in slot %s: %w", s.Slot, err)
		}
		return nil
	})
}

// arm leads a record that was begun through the writing of a slot and its entry. An upgrade that cannot be noted as ready is given up like one that cannot be
// written: else the next boot would start what was said to have failed.
func (k *Keeper) arm(ctx context.Context, next Record, actions []Action, gates []Gate, write func() error) error {
	if err := k.become(ctx, next, actions); err != nil {
		return err
	}
	err := write()
	if err == nil {
		armed := next.Written(k.cfg.Boot, k.lastingly(ctx, gates))
		if err = k.store(armed); err == nil {
			if len(armed.Waived) > 0 {
				k.cfg.Log.Warn("the release is not asked for what does not hold now", "version", armed.Target.Version, "gates", armed.Waived)
			}
			return k.lookAtOther(ctx)
		}
		err = fmt.Errorf("note that version %s is ready: %w", next.Target.Version, err)
	}
	next, actions = next.Abandon(err.Error(), k.cfg.Now())
	if stuck := k.become(ctx, next, actions); stuck != nil {
		err = fmt.Errorf("%w; nor can it be given up, which the next call or boot does: %w", err, stuck)
	}
	return errors.Join(err, k.lookAtOther(ctx))
}

// giveUpLeft gives up an upgrade that is being written by nobody any more: what was to be done about its end could not be done then. The caller holds work.
func (k *Keeper) giveUpLeft(ctx context.Context) error {
	s, _ := k.Status()
	next, actions := s.Record.Abandon("its slot or its boot entry could not be written", k.cfg.Now())
	if err := k.become(ctx, next, actions); err != nil {
		return fmt.Errorf("give up the upgrade to version %s, which failed: %w", s.Record.Target.Version, err)
	}
	return nil
}

// lastingly has those gates not hold that hold neither before a slot was written nor now. That extensions are not there for the other release is no matter of time.
func (k *Keeper) lastingly(ctx context.Context, before []Gate) []Gate {
	if k.cfg.Gates == nil {
		return before
	}
	now, out := k.cfg.Gates(ctx), slices.Clone(before)
	for i, g := range out {
		missing := slices.ContainsFunc(now, func(n Gate) bool { return n.Name == g.Name && !n.Holds })
		out[i].Holds = g.Holds || g.Name != ExtensionsGate && !missing
	}
	return out
}
