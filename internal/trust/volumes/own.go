package volumes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
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

// staySuffix is that of the file, beside a volume's key, of the slots that stay when it is sealed anew, as a list in JSON. It is there while that is under way,
// and after it was interrupted.
const staySuffix = ".slots"

// sealAnew gives the state volume a key that is sealed in the mode in which the volume was made, and that nobody knows otherwise, and removes the one that was
// sealed before. Own is a key of the volume. It may be interrupted in between: what was sealed before opens it until the token is replaced. The next attempt begins
// with clean, which removes at least the slots that the one before has left: of a key that was never sealed, or of the one that was sealed before. It is given
// the own key's slot, which stays.
func (v *Volumes) sealAnew(ctx context.Context, device string, own luks.Secret, how storage.Encryption, clean func(own int) error) error {
	slot, err := v.cfg.LUKS.Test(ctx, device, own)
	if err != nil {
		return err
	}
	before, err := luks.Inspect(device)
	if err != nil {
		return err
	}
	if made := modeOf(before); made != storage.Plain { // else its token is lost, and the configuration has to say
		how.Mode = made
	}
	key, data := luks.NewKey()
	defer clear(data)
	var sealed encoder
	if how.Mode == storage.KMS || how.Mode == storage.Passphrase {
		sealed, err = v.seal(ctx, how, data)
	} else {
		sealed, err = v.sealAgain(data)
	}
	if err != nil {
		return err
	}
	if err := clean(slot); err != nil {
		return err
	}
	if err := v.noteStaying(device); err != nil {
		return err
	}
	further, err := v.cfg.LUKS.AddKey(ctx, device, own, key)
	if err != nil {
		return err
	}
	if err := v.putSealed(ctx, device, further, sealed); err != nil {
		return err
	}
	return v.removeLeft(ctx, device, slot)
}

// noteStaying writes down the slots of the state volume that stay: all but that of the key which is sealed now, in whatever mode. Some may be named by no token and
// opened by what a person has: a recovery key before the one that is to be noted yet.
func (v *Volumes) noteStaying(device string) error {
	h, err := luks.Inspect(device)
	if err != nil {
		return err
	}
	gone := named(h, func(kind string) bool { return modeOfToken(kind) != storage.Plain })
	stay := []int{}
	for _, k := range h.Keyslots {
		if !slices.Contains(gone, k.Number) {
			stay = append(stay, k.Number)
		}
	}
	data, err := json.Marshal(stay)
	if err != nil {
		return err
	}
	return writeFile(v.keyFile(storage.State+staySuffix), data)
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

// removeLeft removes the slots of the state volume that were not to stay when it was sealed anew, but for the own key's and those that a token names. Where the
// list cannot be understood it removes none: Rotate does.
func (v *Volumes) removeLeft(ctx context.Context, device string, own int) error {
	path := v.keyFile(storage.State + staySuffix)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var stay []int
	if json.Unmarshal(data, &stay) == nil {
		if err := v.removeOthers(ctx, device, append(stay, own)...); err != nil {
			return err
		}
	}
	return removeFile(path)
}
