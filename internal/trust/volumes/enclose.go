package volumes

import (
	"context"
	"fmt"
	"io"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/luks"
	"github.com/cyvive/cyvive/internal/trust/pcr"
)

// Sealing makes state volumes of other disks of this machine in one way. It implements install.Sealer.
type Sealing struct {
	v   *Volumes
	how storage.Encryption
}

// Sealing returns what makes them in a way, whose Mode encrypts.
func (v *Volumes) Sealing(how storage.Encryption) Sealing { return Sealing{v, how} }

// WouldOpen says whether a kernel image, once this machine is started with it from another disk, would open what Enclose makes now. The TPM gives out
// nothing in this boot any more, so it is told by what is known: the image is signed by whom keys are sealed for, and the machine adds nothing to its
// command line. A key server has to show that it gives out what it seals, and a passphrase has to be known; both open whatever image runs.
func (s Sealing) WouldOpen(image io.ReaderAt) error {
	if s.how.Mode == storage.TPM {
		return s.v.wouldOpen(image)
	}
	_, data := luks.NewKey()
	defer clear(data)
	_, err := s.v.seal(context.Background(), s.how, data) // what waits in it has a deadline of its own
	return err
}

func (v *Volumes) wouldOpen(image io.ReaderAt) error {
	if len(v.cfg.Signers) == 0 {
		return ErrNoSigner
	}
	signer := v.cfg.Signers[0]
	if err := pcr.Check(image, signer); err != nil {
		return err
	}
	list, err := pcr.Attached(image)
	if err != nil {
		return err
	}
	s, err := signedBy(list, signer)
	if err != nil {
		return err
	}
	return v.foretell(s)
}

// Enclose makes a file, which has its size, into the state volume of another disk of this machine, with a content, and seals its key. Nothing
// else knows that key: the node that opens the volume keeps it, as it does with one that it has made itself.
func (s Sealing) Enclose(ctx context.Context, path string, content io.Reader) error {
	if err := s.v.enclose(ctx, path, content, s.how); err != nil {
		return fmt.Errorf("encrypt volume %s of another disk: %w", storage.State, err)
	}
	return nil
}

func (v *Volumes) enclose(ctx context.Context, path string, content io.Reader, how storage.Encryption) error {
	key, data := luks.NewKey()
	defer clear(data)
	var sealed encoder
	var err error
	if how.Mode == storage.TPM {
		sealed, err = v.sealUntried(data)
	} else {
		sealed, err = v.seal(ctx, how, data)
	}
	if err != nil {
		return err
	}
	if err := v.cfg.LUKS.Enclose(ctx, path, storage.State, key, content); err != nil {
		return err
	}
	return v.putSealed(ctx, path, 0, sealed)
}

// sealUntried seals a key to the TPM when that gives out nothing more.
func (v *Volumes) sealUntried(key []byte) (encoder, error) {
	if len(v.cfg.Signers) == 0 {
		return nil, ErrNoSigner
	}
	t, err := v.cfg.TPM()
	if err != nil {
		return nil, err
	}
	defer t.Close()
	sealed, err := t.Seal(key, v.cfg.Signers[0])
	return tpmToken(sealed), err
}
