package volumes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/luks"
	"github.com/cyvive/cyvive/internal/trust/tpm"
)

// blankBytes is how much of a new volume is made zero, which blockdev takes for blank.
const blankBytes = 1 << 20

// Encrypt implements storage.Crypt. Until its last step there is a mark on the device, and the next attempt begins anew.
func (v *Volumes) Encrypt(ctx context.Context, volume, device string) error {
	if err := v.encrypt(ctx, volume, device); err != nil {
		return fmt.Errorf("encrypt volume %s (%s): %w", volume, device, err)
	}
	return nil
}

func (v *Volumes) encrypt(ctx context.Context, volume, device string) error {
	key, data := luks.NewKey()
	var sealed tpm.Sealed
	var err error
	if volume == storage.State {
		sealed, err = v.seal(data)
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
		if err := v.putSealed(ctx, volume, device, 0, sealed); err != nil {
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

// ErrNoSigner says that nothing can be sealed for a later release.
var ErrNoSigner = errors.New("this release trusts nobody's signature to open disks: its image was built without policy keys (make keys)")

// seal seals a key, and has the TPM show that it gives it out again.
func (v *Volumes) seal(key []byte) (tpm.Sealed, error) {
	if len(v.cfg.Signers) == 0 {
		return tpm.Sealed{}, ErrNoSigner
	}
	signatures, err := v.cfg.Signatures()
	if err != nil {
		return tpm.Sealed{}, fmt.Errorf("read what the running release is measured as: %w", err)
	}
	t, err := v.cfg.TPM()
	if err != nil {
		return tpm.Sealed{}, err
	}
	defer t.Close()
	sealed, err := t.Seal(key, v.cfg.Signers[0])
	if err != nil {
		return tpm.Sealed{}, err
	}
	again, err := t.Unseal(sealed, signatures)
	if err != nil {
		return tpm.Sealed{}, fmt.Errorf("try whether it will open again: %w", err)
	}
	if !bytes.Equal(again, key) {
		return tpm.Sealed{}, errors.New("try whether it will open again: the TPM gives out another key")
	}
	return sealed, nil
}

// putSealed puts the sealed key of a slot into a header.
func (v *Volumes) putSealed(ctx context.Context, volume, device string, slot int, sealed tpm.Sealed) error {
	h, err := luks.Inspect(device)
	if err != nil {
		return err
	}
	text, err := tpm.Token{Keyslot: slot, Volume: volume, UUID: h.UUID, Sealed: sealed}.Encode()
	if err != nil {
		return err
	}
	return v.cfg.LUKS.PutToken(ctx, device, luks.Token{Number: sealedToken, JSON: text})
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
