package volumes

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/luks"
	"github.com/cyvive/cyvive/internal/trust/kms"
	"github.com/cyvive/cyvive/internal/trust/passphrase"
	"github.com/cyvive/cyvive/internal/trust/tpm"
	"github.com/cyvive/cyvive/internal/trust/wrap"
)

var (
	// ErrNoSigner says that nothing can be sealed for a later release.
	ErrNoSigner = errors.New("this release trusts nobody's signature to open disks: its image was built without policy keys (make keys)")
	// ErrNoKeyServer says that a volume is opened by a key server, and that the configuration names none to seal its key anew.
	ErrNoKeyServer = errors.New("the configuration names no key server (disk.encryption.kms), which opens this disk")
)

// encoder makes the token of a key that is sealed, for the slot that it opens and the UUID of the header which that is in.
type encoder func(slot int, uuid string) ([]byte, error)

// seal has the key of the state volume kept in a mode, and sees to it that it comes out again.
func (v *Volumes) seal(ctx context.Context, how storage.Encryption, key []byte) (encoder, error) {
	if how.Mode == storage.TPM {
		return v.sealToTPM(key)
	}
	machine, err := wrap.ParseMachine(v.cfg.Machine)
	if err != nil {
		return nil, err
	}
	b := wrap.Binding{Volume: storage.State, Machine: machine}
	switch how.Mode {
	case storage.KMS:
		return v.sealAtServer(ctx, how.Server, b, key)
	case storage.Passphrase:
		return sealByPassphrase(how.Passphrase, b, key)
	}
	return nil, fmt.Errorf("seal key: nothing is encrypted in the mode %q", how.Mode)
}

// sealToTPM seals a key, and has the TPM show that it gives it out again.
func (v *Volumes) sealToTPM(key []byte) (encoder, error) {
	if len(v.cfg.Signers) == 0 {
		return nil, ErrNoSigner
	}
	signatures, err := v.cfg.Signatures()
	if err != nil {
		return nil, fmt.Errorf("read what the running release is measured as: %w", err)
	}
	t, err := v.cfg.TPM()
	if err != nil {
		return nil, err
	}
	defer t.Close()
	sealed, err := t.Seal(key, v.cfg.Signers[0])
	if err != nil {
		return nil, err
	}
	again, err := t.Unseal(sealed, signatures)
	if errors.Is(err, tpm.ErrCapped) { // as for a volume that was to be made in another mode, and could not be
		return nil, fmt.Errorf("try whether it will open again: %w, or were to be made in another way; reboot the machine, and try again", err)
	}
	if err != nil {
		return nil, fmt.Errorf("try whether it will open again: %w", err)
	}
	if !bytes.Equal(again, key) {
		return nil, errors.New("try whether it will open again: the TPM gives out another key")
	}
	return tpmToken(sealed), nil
}

func tpmToken(sealed tpm.Sealed) encoder {
	return func(slot int, uuid string) ([]byte, error) {
		return tpm.Token{Keyslot: slot, Volume: storage.State, UUID: uuid, Sealed: sealed}.Encode()
	}
}

// sealAtServer has a key server keep one half of a key. Whether a header has room for the token is seen before there is one.
func (v *Volumes) sealAtServer(ctx context.Context, s storage.KeyServer, b wrap.Binding, key []byte) (encoder, error) {
	if s.Endpoint == "" {
		return nil, ErrNoKeyServer
	}
	server := kms.Server{Endpoint: s.Endpoint, CA: s.CA, Certificate: s.Certificate, Key: s.Key.Reveal()}
	token, err := kms.Seal(ctx, v.cfg.KeyServer, server, b, key)
	if err != nil {
		return nil, err
	}
	encode := func(slot int, uuid string) ([]byte, error) {
		token.Keyslot, token.UUID = slot, uuid
		return token.Encode()
	}
	_, err = encode(0, sampleUUID)
	return encode, err
}

// sampleUUID is as long as every UUID.
const sampleUUID = "00000000-0000-0000-0000-000000000000"

func sealByPassphrase(text storage.Secret, b wrap.Binding, key []byte) (encoder, error) {
	token, err := passphrase.Seal(text.Reveal(), b, key)
	if err != nil {
		return nil, explainNone(err)
	}
	return func(slot int, uuid string) ([]byte, error) {
		token.Keyslot, token.UUID = slot, uuid
		return token.Encode()
	}, nil
}

// explainNone says where a passphrase is to come from.
func explainNone(err error) error {
	if errors.Is(err, passphrase.ErrNone) {
		return fmt.Errorf("%w was given to this machine: a document of kind DiskPassphrase, in one of the places where it looks for its configuration", err)
	}
	return err
}

// putSealed puts the sealed key of a slot into the header of the state volume.
func (v *Volumes) putSealed(ctx context.Context, device string, slot int, sealed encoder) error {
	h, err := luks.Inspect(device)
	if err != nil {
		return err
	}
	text, err := sealed(slot, h.UUID)
	if err != nil {
		return err
	}
	return v.cfg.LUKS.PutToken(ctx, device, luks.Token{Number: sealedToken, JSON: text})
}
