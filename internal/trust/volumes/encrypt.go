package volumes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/luks"
)

// blankBytes is how much of a new volume is made zero, which blockdev takes for blank.
const blankBytes = 1 << 20

// Encrypt implements storage.Crypt. Until its last step there is a mark on the device, and the next attempt begins anew.
func (v *Volumes) Encrypt(ctx context.Context, volume, device string, how storage.Encryption) error {
	if err := v.encrypt(ctx, volume, device, how); err != nil {
		return fmt.Errorf("encrypt volume %s (%s): %w", volume, device, err)
	}
	return nil
}

func (v *Volumes) encrypt(ctx context.Context, volume, device string, how storage.Encryption) error {
	key, data := luks.NewKey()
	defer clear(data)
	var sealed encoder
	var err error
	if volume == storage.State {
		sealed, err = v.seal(ctx, how, data)
	} else {
		err = writeFile(v.keyFile(volume), data)
	}
	if err != nil {
		return err
	}
	if err := v.cfg.Marks.BeginFormat(ctx, device); err != nil {
		return err
	}
	if err := v.closeLeft(ctx, volume, device); err != nil {
		return err
	}
	if err := v.cfg.LUKS.Format(ctx, device, volume, key); err != nil {
		return err
	}
	if volume == storage.State {
		if err := v.putSealed(ctx, device, 0, sealed); err != nil {
			return err
		}
	}
	if err := v.blank(ctx, volume, device, key); err != nil {
		return err
	}
	return v.cfg.Marks.FinishFormat(ctx, device)
}

// closeLeft closes what an agent that ended in blank has left open: a device that is in use takes no other header.
func (v *Volumes) closeLeft(ctx context.Context, volume, device string) error {
	left, err := v.mapped(mapperName(volume), filepath.Base(device))
	if left.Device == "" || err != nil {
		return err
	}
	return v.cfg.LUKS.Close(ctx, mapperName(volume))
}

// blank opens a new volume and makes its beginning zero: without that it is noise, which could be anything.
func (v *Volumes) blank(ctx context.Context, volume, device string, key luks.Secret) error {
	name := mapperName(volume)
	if err := v.cfg.LUKS.Open(ctx, device, name, key); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(v.cfg.Mapper, name), os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt(make([]byte, blankBytes), 0)
		err = errors.Join(err, f.Sync(), f.Close())
	}
	return errors.Join(err, v.cfg.LUKS.Close(ctx, name))
}
