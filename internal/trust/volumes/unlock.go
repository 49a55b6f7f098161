package volumes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/luks"
	"github.com/cyvive/cyvive/internal/trust/kms"
	"github.com/cyvive/cyvive/internal/trust/passphrase"
	"github.com/cyvive/cyvive/internal/trust/pcr"
	"github.com/cyvive/cyvive/internal/trust/tpm"
	"github.com/cyvive/cyvive/internal/trust/wrap"
)

// maxFailures is how often a volume is tried whose opening fails for a reason that may pass. After that the TPM is to be told to give out nothing more:
// the node goes on without the volume.
const maxFailures = 3

// ErrForm says that a volume's header is not of the form that the node makes: somebody else has written it, and no key is given to it.
var ErrForm = luks.ErrForm

// Unlock implements storage.Crypt. The form of the header is looked at before anything in it is used, and before there is a key.
func (v *Volumes) Unlock(ctx context.Context, volume, device string, how storage.Encryption) error {
	data, err := v.keyFor(ctx, volume, device, how)
	if volume == storage.State {
		v.await(err)
	}
	switch {
	case mayPass(err):
		return fmt.Errorf("unlock volume %s (%s): %w", volume, device, err)
	case err != nil:
		return v.failed(volume, device, err)
	}
	key, err := luks.Key(data)
	if err != nil {
		return v.refuse(volume, err)
	}
	switch err := v.cfg.LUKS.Open(ctx, device, mapperName(volume), key); {
	case errors.Is(err, luks.ErrWrongKey):
		return v.refuse(volume, fmt.Errorf("the key that was kept for it is not one of its own: %w", err))
	case err != nil:
		return v.failed(volume, device, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.keys[volume] = data
	return nil
}

// keyFor returns the key of a volume whose header is of the node's form.
func (v *Volumes) keyFor(ctx context.Context, volume, device string, how storage.Encryption) ([]byte, error) {
	if err := luks.Check(device); err != nil {
		return nil, err
	}
	if volume == storage.State {
		return v.unseal(ctx, volume, device, how)
	}
	return v.readKey(volume)
}

// failed returns the error of an attempt that may be made again, and keeps that of one which may not.
func (v *Volumes) failed(volume, device string, err error) error {
	v.mu.Lock()
	v.failures[volume]++
	last := v.failures[volume] >= maxFailures
	v.mu.Unlock()
	if last || final(err) {
		return v.refuse(volume, err)
	}
	return fmt.Errorf("unlock volume %s (%s): %w", volume, device, err)
}

// mayPass says that what opens the volume from elsewhere may yet do so, however often it did not: nothing is given up for it.
func mayPass(err error) bool {
	for _, e := range []error{kms.ErrServer, passphrase.ErrNone, passphrase.ErrWrong} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// await keeps what an attempt to open the state volume has lacked; nil, and every other error, is nothing.
func (v *Volumes) await(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.waits = ""
	if mayPass(err) {
		v.waits = err.Error()
	}
}

// errNoKey says that nothing is there that could open a volume.
var errNoKey = errors.New("no key")

// final says that the next attempt in this boot would end as this one did.
func final(err error) bool {
	var changed *tpm.ChangedError
	if errors.As(err, &changed) {
		return true
	}
	for _, e := range []error{
		ErrForm, errNoKey, tpm.ErrNone, tpm.ErrBank, tpm.ErrOther, tpm.ErrOwned, tpm.ErrCapped, tpm.ErrUnsigned, pcr.ErrUnsigned,
		wrap.ErrOtherMachine, wrap.ErrNoMachine,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// unseal returns the key of a volume, by what its header says that opens it.
func (v *Volumes) unseal(ctx context.Context, volume, device string, how storage.Encryption) ([]byte, error) {
	h, err := luks.Inspect(device)
	if err != nil {
		return nil, err
	}
	switch modeOf(h) {
	case storage.KMS:
		return v.askServer(ctx, volume, h)
	case storage.Passphrase:
		return v.byPassphrase(volume, h, how.Passphrase.Reveal())
	}
	return v.askTPM(volume, h)
}

// askTPM has the TPM give out the key of a volume.
func (v *Volumes) askTPM(volume string, h luks.Header) ([]byte, error) {
	token, err := sealedIn(h)
	if err != nil {
		return nil, err
	}
	if err := token.Check(volume, h.UUID); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoKey, err)
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
	return t.Unseal(token.Sealed, signatures)
}

// sealedIn returns the sealed key of a header.
func sealedIn(h luks.Header) (tpm.Token, error) {
	for _, t := range h.Tokens {
		if t.Type != tpm.TokenType {
			continue
		}
		token, err := tpm.ParseToken(t.JSON)
		if err != nil {
			return tpm.Token{}, fmt.Errorf("%w: %w", errNoKey, err)
		}
		return token, nil
	}
	return tpm.Token{}, fmt.Errorf("%w: its header has none that is sealed to a TPM, kept by a key server, or opened by a passphrase", errNoKey)
}

// Opens says whether a kernel image, once it runs on this machine, opens the state volume on a device, as far as that can be told before: it can for a
// volume that is sealed to the TPM. All others count as opened: a key server, and a passphrase, do not ask what runs.
func Opens(device string, image io.ReaderAt) error {
	h, err := luks.Inspect(device)
	if errors.Is(err, luks.ErrNone) {
		return nil
	}
	if err != nil {
		return err
	}
	token, err := sealedIn(h)
	if errors.Is(err, errNoKey) {
		return nil
	}
	if err != nil {
		return err
	}
	return pcr.Check(image, token.Sealed.Signer)
}

func (v *Volumes) keyFile(name string) string { return filepath.Join(v.cfg.KeyDir, name) }

// readKey reads the key of a volume from the state volume.
func (v *Volumes) readKey(volume string) ([]byte, error) {
	data, err := os.ReadFile(v.keyFile(volume))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: volume %s has none for volume %s", errNoKey, storage.State, volume)
	case err != nil:
		return nil, err
	case len(data) != luks.KeyBytes:
		return nil, fmt.Errorf("%w: that of volume %s has %d bytes, expected %d", errNoKey, volume, len(data), luks.KeyBytes)
	}
	return data, nil
}

// Keyed says that the state volume, which is mounted, has the key of a volume, be it damaged, or that this cannot be told. It has it from when the volume is made.
func (v *Volumes) Keyed(volume string) bool {
	_, err := os.Lstat(v.keyFile(volume))
	return !errors.Is(err, fs.ErrNotExist)
}

// readSecret is readKey in the form in which a volume is opened by it.
func (v *Volumes) readSecret(volume string) (luks.Secret, error) {
	data, err := v.readKey(volume)
	if err != nil {
		return luks.Secret{}, err
	}
	return luks.Key(data)
}
