package volumes

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/luks"
)

// ownKey returns a volume's own key, which lies on the state volume. That of state is made here, once in its life, and given to it next to the one that was sealed:
// that one is written nowhere, so this has to be the process that it was given to.
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
		return luks.Secret{}, fmt.Errorf("the agent that opened it has ended, and with it the key that it was given; the next boot knows it again: %w", err)
	}
	has, err := luks.Key(sealed)
	if err != nil {
		return luks.Secret{}, err
	}
	_, err = v.cfg.LUKS.AddKey(ctx, device, has, own)
	return own, err
}

// sealAnew gives the state volume a key that is sealed in the mode in which the volume was made, and that nobody knows otherwise, and removes the one that was
// sealed before. Own is a key of the volume. The power may fail in between: what was sealed before opens it until the token is replaced, and a slot whose key was
// never sealed is removed by the next Rotate.
func (v *Volumes) sealAnew(ctx context.Context, device string, own luks.Secret, how storage.Encryption) error {
	before, err := luks.Inspect(device)
	if err != nil {
		return err
	}
	if made := modeOf(before); made != storage.Plain { // else its token is lost, and the configuration has to say
		how.Mode = made
	}
	key, data := luks.NewKey()
	var sealed encoder
	if how.Mode == storage.KMS || how.Mode == storage.Passphrase {
		sealed, err = v.seal(ctx, how, data)
	} else {
		sealed, err = v.sealAgain(data)
	}
	if err != nil {
		return err
	}
	slot, err := v.cfg.LUKS.AddKey(ctx, device, own, key)
	if err != nil {
		return err
	}
	if err := v.putSealed(ctx, device, slot, sealed); err != nil {
		return err
	}
	return v.removeSealed(ctx, device, before, own)
}

// removeSealed removes the slots of keys that a header before had sealed, unless one is the own key's, or a token names it now.
func (v *Volumes) removeSealed(ctx context.Context, device string, before luks.Header, own luks.Secret) error {
	keep, err := v.cfg.LUKS.Test(ctx, device, own)
	if err != nil {
		return err
	}
	now, err := luks.Inspect(device)
	if err != nil {
		return err
	}
	stay := append(named(now, func(string) bool { return true }), keep)
	gone := named(before, func(kind string) bool { return modeOfToken(kind) != storage.Plain })
	return v.removeSlots(ctx, device, func(slot int) bool { return slices.Contains(gone, slot) && !slices.Contains(stay, slot) })
}

// named returns the slots that the tokens of some types name.
func named(h luks.Header, of func(kind string) bool) []int {
	var slots []int
	for _, t := range h.Tokens {
		if of(t.Type) {
			slots = append(slots, t.Keyslots...)
		}
	}
	return slots
}
