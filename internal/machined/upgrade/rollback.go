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
	if err := k.otherStarts(s.Other.Slot); err != nil {
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

// otherStarts refuses a slot whose kernel image the firmware would not start: Secure Boot may have been turned on since it ran.
func (k *Keeper) otherStarts(slot string) error {
	if k.cfg.Starts == nil {
		return nil
	}
	return k.cfg.Entries.Kernel(slot, func(kernel *io.SectionReader) error {
		if err := k.cfg.Starts(kernel); err != nil {
			return fmt.Errorf("%w: the kernel image of slot %s: %w", release.ErrUnwanted, slot, err)
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
