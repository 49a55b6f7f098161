package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cyvive/cyvive/internal/release"
)

// Rollback arms what is in the other slot. Extensions may not be there for it, and it is not asked for them.
func (k *Keeper) Rollback(ctx context.Context, gates []Gate) (System, error) {
	if !k.work.TryLock() {
		return System{}, fmt.Errorf("roll back: %w: a push or an installation is at work", ErrBusy)
	}
	defer k.work.Unlock()
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

// arm leads a record that was begun through the writing of a slot and its entry.
func (k *Keeper) arm(ctx context.Context, next Record, actions []Action, gates []Gate, write func() error) error {
	if err := k.become(ctx, next, actions); err != nil {
		return err
	}
	if err := write(); err != nil {
		next, actions := next.Abandon(err.Error(), k.cfg.Now())
		return errors.Join(err, k.become(ctx, next, actions), k.lookAtOther(ctx))
	}
	return errors.Join(k.store(next.Written(k.cfg.Boot, gates)), k.lookAtOther(ctx))
}
