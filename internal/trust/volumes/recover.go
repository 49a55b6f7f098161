package volumes

import (
	"context"
	"crypto/ecdsa"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/luks"
	"github.com/cyvive/cyvive/internal/trust/pcr"
	"github.com/cyvive/cyvive/internal/trust/recovery"
)

var (
	// ErrNoRecoveryKey says that there is no recovery key to be shown: it was shown and forgotten, or never made.
	ErrNoRecoveryKey = errors.New("there is no recovery key that was not shown yet")
	// ErrOtherRecoveryKey says that a recovery key is in order and another one.
	ErrOtherRecoveryKey = errors.New("it is the recovery key of something else")
	// ErrOpen says that the volume is open already.
	ErrOpen = errors.New("the volume is open")
)

// RecoveryKey returns the node's recovery key for a person to write down, as often as that takes: it is there until ForgetRecoveryKey. The state volume
// is mounted. The error is ErrNoRecoveryKey where there is none.
func (v *Volumes) RecoveryKey() (recovery.Key, error) {
	data, err := os.ReadFile(v.keyFile(recoveryFile))
	if errors.Is(err, fs.ErrNotExist) {
		return recovery.Key{}, ErrNoRecoveryKey
	}
	if err != nil {
		return recovery.Key{}, fmt.Errorf("read recovery key: %w", err)
	}
	return recovery.FromBytes(data)
}

// ForgetRecoveryKey removes the recovery key from the node. Who asks for it shows that he has it, by giving it.
func (v *Volumes) ForgetRecoveryKey(k recovery.Key) error {
	kept, err := v.RecoveryKey()
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(kept.Bytes(), k.Bytes()) != 1 {
		return fmt.Errorf("forget recovery key: %w", ErrOtherRecoveryKey)
	}
	return os.Remove(v.keyFile(recoveryFile))
}

// Recover opens a volume with the recovery key, whatever the TPM says. Volumes whose keys lie on the state volume open by themselves once that is
// recovered. The error is ErrOtherRecoveryKey where the volume has no such key, and ErrOpen where it is open.
func (v *Volumes) Recover(ctx context.Context, volume, device string, k recovery.Key) error {
	key, err := luks.Key(k.Bytes())
	if err != nil {
		return err
	}
	err = v.cfg.LUKS.Open(ctx, device, mapperName(volume), key)
	if errors.Is(err, luks.ErrWrongKey) {
		err = fmt.Errorf("%w: %w", ErrOtherRecoveryKey, err)
	}
	if errors.Is(err, luks.ErrBusy) {
		err = fmt.Errorf("%w: %w", ErrOpen, err)
	}
	if err != nil {
		return fmt.Errorf("recover volume %s (%s): %w", volume, device, err)
	}
	// The recovery key is not kept as the volume's own: that one lies on the state volume.
	if err := os.Remove(v.refusalFile(volume)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("recover volume %s: %w", volume, err)
	}
	return nil
}

// Reseal seals the key of the state volume, which is mounted, anew, in the mode in which the volume was made. To the TPM of this machine as it is now: another
// one, or one with other Secure Boot keys than before. That it opens again cannot be tried before the next boot, since the TPM gives out nothing more in this
// one. What can be known is looked at: the running release has to be signed by whom the key is sealed for. By the key server that is given, which may be
// another than before and has to give the key out again; or by the passphrase that is given.
func (v *Volumes) Reseal(ctx context.Context, device string, how storage.Encryption) error {
	v.changing.Lock()
	defer v.changing.Unlock()
	if err := v.reseal(ctx, device, how); err != nil {
		return fmt.Errorf("seal key of volume %s anew: %w", storage.State, err)
	}
	return nil
}

func (v *Volumes) reseal(ctx context.Context, device string, how storage.Encryption) error {
	data, err := v.readKey(storage.State)
	if err != nil {
		return err
	}
	key, err := luks.Key(data)
	if err != nil {
		return err
	}
	slot, err := v.cfg.LUKS.Test(ctx, device, key)
	if err != nil {
		return err
	}
	return v.sealSlot(ctx, device, slot, data, how)
}

// sealSlot seals the key of a slot of the state volume, in the mode in which that was made, in place of what was sealed before.
func (v *Volumes) sealSlot(ctx context.Context, device string, slot int, key []byte, how storage.Encryption) error {
	h, err := luks.Inspect(device)
	if err != nil {
		return err
	}
	if made := modeOf(h); made != storage.Plain { // else its token is lost, and the configuration has to say
		how.Mode = made
	}
	var sealed encoder
	switch how.Mode {
	case storage.KMS, storage.Passphrase:
		sealed, err = v.seal(ctx, how, key)
	default:
		sealed, err = v.sealAgain(key)
	}
	if err != nil {
		return err
	}
	return v.putSealed(ctx, device, slot, sealed)
}

// sealAgain seals a key to the TPM as it is now, if the running release is signed by whom it is sealed for.
func (v *Volumes) sealAgain(key []byte) (encoder, error) {
	if len(v.cfg.Signers) == 0 {
		return nil, ErrNoSigner
	}
	signatures, err := v.cfg.Signatures()
	if err != nil {
		return nil, fmt.Errorf("read what the running release is measured as: %w", err)
	}
	if _, err := signedBy(signatures, v.cfg.Signers[0]); err != nil {
		return nil, err
	}
	return v.sealUntried(key)
}

// signedBy returns the signature of a signer among those of a release.
func signedBy(signatures []pcr.Signature, signer *ecdsa.PublicKey) (pcr.Signature, error) {
	name, err := pcr.Fingerprint(signer)
	if err != nil {
		return pcr.Signature{}, err
	}
	for _, s := range signatures {
		if s.Key == name {
			return s, s.Verify(signer)
		}
	}
	return pcr.Signature{}, fmt.Errorf("the release: %w by key %s", pcr.ErrUnsigned, name)
}
