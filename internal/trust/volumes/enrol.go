package volumes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"github.com/cyvive/cyvive/internal/storage/luks"
	"github.com/cyvive/cyvive/internal/trust/recovery"
)

// recoveryFile is the file, beside the keys of volumes, of a recovery key that nobody was shown yet.
const recoveryFile = "recovery"

// key returns the key of an open volume, as a secret and as bytes.
func (v *Volumes) key(volume string) (luks.Secret, []byte, error) {
	v.mu.Lock()
	data := v.keys[volume]
	v.mu.Unlock()
	if data == nil {
		var err error
		if data, err = v.readKey(volume); err != nil {
			return luks.Secret{}, nil, fmt.Errorf("it is known again with the next boot: %w", err)
		}
	}
	s, err := luks.Key(data)
	return s, data, err
}

// Extend implements storage.Crypt.
func (v *Volumes) Extend(ctx context.Context, volume string) error {
	key, _, err := v.key(volume)
	if err != nil {
		return fmt.Errorf("grow encrypted volume %s: %w", volume, err)
	}
	return v.cfg.LUKS.Extend(ctx, mapperName(volume), key)
}

// Enrol implements storage.Crypt. It keeps the volume's key on the state volume too, from when on it is known whatever happens to this process.
func (v *Volumes) Enrol(ctx context.Context, volume, device string) error {
	v.changing.Lock()
	defer v.changing.Unlock()
	if err := v.enrol(ctx, volume, device); err != nil {
		return fmt.Errorf("give recovery key to volume %s: %w", volume, err)
	}
	return nil
}

func (v *Volumes) enrol(ctx context.Context, volume, device string) error {
	key, data, err := v.key(volume)
	if err != nil {
		return err
	}
	if err := writeFile(v.keyFile(volume), data); err != nil {
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
		slot, err = v.cfg.LUKS.AddKey(ctx, device, key, further)
	}
	if err != nil {
		return err
	}
	text := fmt.Appendf(nil, `{"type":%q,"keyslots":[%q]}`, RecoveryType, strconv.Itoa(slot))
	return v.cfg.LUKS.PutToken(ctx, device, luks.Token{Number: recoveryToken, JSON: text})
}

// recovery returns the recovery key that nobody was shown yet, or a new one.
func (v *Volumes) recovery() (recovery.Key, error) {
	data, err := os.ReadFile(v.keyFile(recoveryFile))
	if err == nil {
		return recovery.FromBytes(data)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return recovery.Key{}, err
	}
	k := recovery.New()
	return k, writeFile(v.keyFile(recoveryFile), k.Bytes())
}
