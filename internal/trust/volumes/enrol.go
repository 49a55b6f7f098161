package volumes

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/luks"
)

// key returns a key of an open volume.
func (v *Volumes) key(volume string) (luks.Secret, error) {
	v.mu.Lock()
	data := v.keys[volume]
	v.mu.Unlock()
	if data == nil {
		var err error
		if data, err = v.readKey(volume); err != nil {
			return luks.Secret{}, fmt.Errorf("it is known again with the next boot: %w", err)
		}
	}
	return luks.Key(data)
}

// Extend implements storage.Crypt.
func (v *Volumes) Extend(ctx context.Context, volume string) error {
	key, err := v.key(volume)
	if err != nil {
		return fmt.Errorf("grow encrypted volume %s: %w", volume, err)
	}
	return v.cfg.LUKS.Extend(ctx, mapperName(volume), key)
}

// Enrol implements storage.Crypt. State gets its own key too, from when on one is known whatever happens to this process.
func (v *Volumes) Enrol(ctx context.Context, volume, device string) error {
	v.changing.Lock()
	defer v.changing.Unlock()
	if err := v.enrol(ctx, volume, device); err != nil {
		return fmt.Errorf("give recovery key to volume %s: %w", volume, err)
	}
	return nil
}

func (v *Volumes) enrol(ctx context.Context, volume, device string) error {
	key, err := v.ownKey(ctx, volume, device)
	if err != nil {
		return err
	}
	r, err := v.recovery()
	if err != nil {
		return err
	}
	further, err := luks.Key(r.Bytes())
	if err != nil {
		return err
	}
	slot, err := v.cfg.LUKS.Test(ctx, device, further)
	if errors.Is(err, luks.ErrWrongKey) {
		if err := v.endReseal(ctx, volume, device, key); err != nil {
			return err
		}
		slot, err = v.cfg.LUKS.AddKey(ctx, device, key, further)
	}
	if err != nil {
		return err
	}
	text := fmt.Appendf(nil, `{"type":%q,"keyslots":[%q],"id":%q}`, RecoveryType, strconv.Itoa(slot), r.ID())
	return v.cfg.LUKS.PutToken(ctx, device, luks.Token{Number: recoveryToken, JSON: text})
}

// endReseal removes what a sealing of the state volume has left that was cut. It comes before the volume gets a further recovery key: what opens it by none of
// its tokens is told apart by what was there when the sealing began.
func (v *Volumes) endReseal(ctx context.Context, volume, device string, own luks.Secret) error {
	if volume != storage.State {
		return nil
	}
	slot, err := v.cfg.LUKS.Test(ctx, device, own)
	if err != nil {
		return err
	}
	return v.removeLeft(ctx, device, slot)
}
