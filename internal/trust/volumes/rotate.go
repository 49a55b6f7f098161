package volumes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/luks"
)

// pendingSuffix is that of the file, beside a volume's key, of the key that is to take its place.
const pendingSuffix = ".new"

// Rotate gives a volume another key of its own, and state another one that is sealed too, in the mode in which it was made; those before are removed. The volume
// and the state volume are mounted, and what is on them stays as it is: it is encrypted by the volume key, of which these are wrappings. The recovery key stays.
//
//	state:  slots that no token names removed ─▶ a key in a slot ─▶ sealed, in the token ─▶ the slot before removed ─▶ as data
//	data:   pending ─▶ in a slot ─▶ own ─▶ the slot before removed
//
// The power may fail behind each step, and it may end there with an error: the next boot opens the volume with the one key or the other, and calling Rotate
// again goes on. The new key is on the state volume, durably, before it is anywhere else, and the one before is removed only when no token names it.
//
// Recovery keys before the present one open nothing any more: the error is ErrNotNoted while somebody may hold one of those and nobody the present one.
func (v *Volumes) Rotate(ctx context.Context, volume, device string, how storage.Encryption) error {
	v.changing.Lock()
	defer v.changing.Unlock()
	if err := v.rotate(ctx, volume, device, how); err != nil {
		return fmt.Errorf("change key of volume %s (%s): %w", volume, device, err)
	}
	return nil
}

func (v *Volumes) rotate(ctx context.Context, volume, device string, how storage.Encryption) error {
	if err := v.noted(device); err != nil {
		return err
	}
	own, err := v.readKey(volume)
	if err != nil {
		return err
	}
	if volume == storage.State {
		key, err := luks.Key(own)
		if err != nil {
			return err
		}
		if err := v.samePassphrase(device, how.Passphrase); err != nil {
			return err
		}
		if err := v.sealAnew(ctx, device, key, how, func(own int) error { return v.removeOthers(ctx, device, own) }); err != nil {
			return err
		}
	}
	next, err := v.pending(volume, own)
	if err != nil {
		return err
	}
	slot, err := v.slotOf(ctx, device, own, next)
	if err != nil {
		return err
	}
	if err := writeFile(v.keyFile(volume), next); err != nil {
		return err
	}
	v.mu.Lock()
	v.keys[volume] = next
	v.mu.Unlock()
	if err := v.removeOthers(ctx, device, slot); err != nil {
		return err
	}
	return removeFile(v.keyFile(volume + pendingSuffix))
}

// pending returns the key that is to take the place of a volume's own: the one that an interrupted Rotate has left, or a new one. One that is the volume's own
// already was left by a Rotate that had all but ended, perhaps long ago: what it did not remove goes with the key before, and who asks now gets another key.
func (v *Volumes) pending(volume string, own []byte) ([]byte, error) {
	path := v.keyFile(volume + pendingSuffix)
	data, err := os.ReadFile(path)
	switch {
	case err == nil && len(data) == luks.KeyBytes && !bytes.Equal(data, own):
		return data, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	_, data = luks.NewKey()
	if bytes.Equal(data, own) {
		return nil, errors.New("the random number generator gives out the same twice")
	}
	return data, writeFile(path, data)
}

// slotOf returns the slot of a volume's next key, which it is given next to its own where it has none yet.
func (v *Volumes) slotOf(ctx context.Context, device string, own, next []byte) (int, error) {
	has, err := luks.Key(own)
	if err != nil {
		return 0, err
	}
	further, err := luks.Key(next)
	if err != nil {
		return 0, err
	}
	slot, err := v.cfg.LUKS.Test(ctx, device, further)
	if errors.Is(err, luks.ErrWrongKey) {
		slot, err = v.addKey(ctx, device, has, further)
	}
	return slot, err
}

// ErrFull says that a volume's header has no room for another key.
var ErrFull = luks.ErrFull

// addKey gives a volume a further key next to one that it has. Where the header has no room, those go that neither is this one, which has to open it, nor is named by a
// token: recovery keys before the one that it has, and keys of machines in which the disk was before.
func (v *Volumes) addKey(ctx context.Context, device string, has, further luks.Secret) (int, error) {
	slot, err := v.cfg.LUKS.AddKey(ctx, device, has, further)
	if !errors.Is(err, luks.ErrFull) {
		return slot, err
	}
	stay, err := v.cfg.LUKS.Test(ctx, device, has)
	if err != nil {
		return 0, err
	}
	if err := v.removeOthers(ctx, device, stay); err != nil {
		return 0, err
	}
	return v.cfg.LUKS.AddKey(ctx, device, has, further)
}

// removeOthers removes the keys of all slots of a volume but these and those that a token names: the recovery key's, and whatever else opens the volume.
func (v *Volumes) removeOthers(ctx context.Context, device string, stay ...int) error {
	h, err := luks.Inspect(device)
	if err != nil {
		return err
	}
	stay = append(stay, named(h, func(string) bool { return true })...)
	for _, k := range h.Keyslots {
		if slices.Contains(stay, k.Number) {
			continue
		}
		if err := v.cfg.LUKS.RemoveKey(ctx, device, k.Number); err != nil {
			return err
		}
	}
	return nil
}
