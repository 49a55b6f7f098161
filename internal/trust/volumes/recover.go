package volumes

import (
	"context"
	"crypto/ecdsa"
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
	// ErrOtherRecoveryKey says that a recovery key is in order and another one.
	ErrOtherRecoveryKey = errors.New("it is the recovery key of something else")
	// ErrOpen says that the volume is open already.
	ErrOpen = errors.New("the volume is open")
)

// Recover opens a volume with the recovery key, whatever the TPM says. Volumes whose keys lie on the state volume open by themselves once that is
// recovered. The error is ErrOtherRecoveryKey where the volume has no such key, ErrForm where somebody else has written its header, and ErrOpen where it is open.
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

// Reseal gives the state volume, which is mounted, another key, sealed in the mode in which the volume was made; what was sealed before opens nothing any more.
// To the TPM of this machine as it is now: another one, or one with other Secure Boot keys than before. That the key opens it cannot be tried before the next
// boot, since the TPM gives out nothing more in this one. What can be known is looked at: the running release has to be signed by whom the key is sealed for, and
// nothing added to its command line or initramfs, else the error is a tpm.ChangedError. By the key server that is given, which may be another than before and has to
// give the key out again; or by the passphrase that is given.
func (v *Volumes) Reseal(ctx context.Context, device string, how storage.Encryption) error {
	v.changing.Lock()
	defer v.changing.Unlock()
	if err := v.reseal(ctx, device, how); err != nil {
		return fmt.Errorf("seal key of volume %s anew: %w", storage.State, err)
	}
	return nil
}

func (v *Volumes) reseal(ctx context.Context, device string, how storage.Encryption) error {
	own, err := v.readSecret(storage.State)
	if err != nil {
		return err
	}
	return v.sealAnew(ctx, device, own, how, func(slot int) error { return v.removeLeft(ctx, device, slot) })
}

// sealAgain seals a key to the TPM as it is now, if the running release is signed by whom it is sealed for, and the machine was started as the signer demands.
func (v *Volumes) sealAgain(key []byte) (encoder, error) {
	if len(v.cfg.Signers) == 0 {
		return nil, ErrNoSigner
	}
	signatures, err := v.cfg.Signatures()
	if err != nil {
		return nil, fmt.Errorf("read what the running release is measured as: %w", err)
	}
	s, err := signedBy(signatures, v.cfg.Signers[0])
	if err != nil {
		return nil, err
	}
	if err := v.foretell(s); err != nil {
		return nil, fmt.Errorf("a boot as this one would not open the disk, and what was sealed before is left: %w", err)
	}
	return v.sealUntried(key)
}

// foretell is tpm.TPM.Foretell of a release with a signature.
func (v *Volumes) foretell(s pcr.Signature) error {
	t, err := v.cfg.TPM()
	if err != nil {
		return err
	}
	defer t.Close()
	return t.Foretell(s)
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
