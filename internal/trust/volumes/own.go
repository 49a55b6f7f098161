package volumes

import (
	"context"
	"errors"
	"fmt"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/luks"
)

// ownKey returns a volume's own key, which lies on the state volume. That of state is made here, once in its life, and given to it next to the one that was sealed:
// the TPM's is written nowhere, so this has to be the process that it was given to.
func (v *Volumes) ownKey(ctx context.Context, volume, device string) (luks.Secret, error) {
	if volume != storage.State {
		return v.key(volume)
	}
	data, err := v.readKey(volume)
	if errors.Is(err, errNoKey) {
		_, data = luks.NewKey()
		err = writeFile(v.keyFile(volume), data)
	}
	if err != nil {
		return luks.Secret{}, err
	}
	own, err := luks.Key(data)
	if err != nil {
		return luks.Secret{}, err
	}
	if _, err = v.cfg.LUKS.Test(ctx, device, own); !errors.Is(err, luks.ErrWrongKey) {
		return own, err
	}
	v.mu.Lock()
	sealed := v.keys[volume]
	v.mu.Unlock()
	if sealed == nil {
		return luks.Secret{}, fmt.Errorf("the agent that opened it has ended, and with it what the TPM gave out; the next boot knows it again: %w", err)
	}
	has, err := luks.Key(sealed)
	if err != nil {
		return luks.Secret{}, err
	}
	_, err = v.cfg.LUKS.AddKey(ctx, device, has, own)
	return own, err
}

// sealAnew gives the state volume a key that nobody knows but the TPM as it is now, and removes the one that was sealed before. Own is a key of the volume. The
// power may fail in between: the TPM before has its key until the token is replaced, and a slot whose key was never sealed is removed by the next Rotate.
func (v *Volumes) sealAnew(ctx context.Context, device string, own luks.Secret) error {
	before, err := luks.Inspect(device)
	if err != nil {
		return err
	}
	key, data := luks.NewKey()
	sealed, err := v.sealed(data)
	if err != nil {
		return err
	}
	slot, err := v.cfg.LUKS.AddKey(ctx, device, own, key)
	if err != nil {
		return err
	}
	if err := v.putSealed(ctx, storage.State, device, slot, sealed); err != nil {
		return err
	}
	return v.removeSealed(ctx, device, before, own)
}

// removeSealed removes the slot of the key that a header before had sealed, unless it is the own key's.
func (v *Volumes) removeSealed(ctx context.Context, device string, before luks.Header, own luks.Secret) error {
	token, err := sealedIn(before)
	if errors.Is(err, errNoKey) {
		return nil
	}
	if err != nil {
		return err
	}
	keep, err := v.cfg.LUKS.Test(ctx, device, own)
	if err != nil {
		return err
	}
	return v.removeSlots(ctx, device, func(slot int) bool { return slot == token.Keyslot && slot != keep })
}
