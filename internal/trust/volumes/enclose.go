package volumes

import (
	"context"
	"fmt"
	"io"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/luks"
	"github.com/cyvive/cyvive/internal/trust/pcr"
)

// WouldOpen says whether a kernel image, once this machine is started with it from another disk, would open what Enclose makes now. The TPM gives out
// nothing in this boot any more, so it is told by what is known: the image is signed by whom keys are sealed for, and the machine adds nothing to its
// command line.
func (v *Volumes) WouldOpen(image io.ReaderAt) error {
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
	t, err := v.cfg.TPM()
	if err != nil {
		return err
	}
	defer t.Close()
	return t.Foretell(s)
}

// Enclose makes a file, which has its size, into the state volume of another disk of this machine, with a content, and seals its key to the TPM. Nothing
// else knows that key: the node that opens the volume keeps it, as it does with one that it has made itself.
func (v *Volumes) Enclose(ctx context.Context, path string, content io.Reader) error {
	if err := v.enclose(ctx, path, content); err != nil {
		return fmt.Errorf("encrypt volume %s of another disk: %w", storage.State, err)
	}
	return nil
}

func (v *Volumes) enclose(ctx context.Context, path string, content io.Reader) error {
	if len(v.cfg.Signers) == 0 {
		return ErrNoSigner
	}
	t, err := v.cfg.TPM()
	if err != nil {
		return err
	}
	defer t.Close()
	key, data := luks.NewKey()
	sealed, err := t.Seal(data, v.cfg.Signers[0])
	if err != nil {
		return err
	}
	if err := v.cfg.LUKS.Enclose(ctx, path, storage.State, key, content); err != nil {
		return err
	}
	return v.putSealed(ctx, storage.State, path, 0, sealed)
}
