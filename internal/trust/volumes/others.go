package volumes

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/luks"
	"github.com/cyvive/cyvive/internal/trust/kms"
	"github.com/cyvive/cyvive/internal/trust/passphrase"
	"github.com/cyvive/cyvive/internal/trust/tpm"
	"github.com/cyvive/cyvive/internal/trust/wrap"
)

// modeOfToken is what opens a state volume by a token of a type; Plain for one that is there for something else.
func modeOfToken(kind string) storage.Mode {
	switch kind {
	case tpm.TokenType:
		return storage.TPM
	case kms.TokenType:
		return storage.KMS
	case passphrase.TokenType:
		return storage.Passphrase
	}
	return storage.Plain
}

// modeOf is what opens the state volume whose header it is; Plain for nothing that is known. The first token counts, as it does for opening.
func modeOf(h luks.Header) storage.Mode {
	for _, t := range h.Tokens {
		if mode := modeOfToken(t.Type); mode != storage.Plain {
			return mode
		}
	}
	return storage.Plain
}

// tokenOf returns the JSON of the first token of a type.
func tokenOf(h luks.Header, kind string) []byte {
	for _, t := range h.Tokens {
		if t.Type == kind {
			return t.JSON
		}
	}
	return nil
}

// serverOf is the key server by which a volume opens; zero where it opens otherwise, or its token cannot be read.
func serverOf(h luks.Header) storage.KeyServer {
	if modeOf(h) != storage.KMS {
		return storage.KeyServer{}
	}
	token, err := kms.ParseToken(tokenOf(h, kms.TokenType))
	if err != nil {
		return storage.KeyServer{}
	}
	s := token.Server
	return storage.KeyServer{Endpoint: s.Endpoint, CA: s.CA, Certificate: s.Certificate, Key: storage.NewSecret(s.Key)}
}

// askServer has a key server give out its half of the key of a volume.
func (v *Volumes) askServer(ctx context.Context, volume string, h luks.Header) ([]byte, error) {
	token, err := kms.ParseToken(tokenOf(h, kms.TokenType))
	if err == nil {
		err = v.belongs(token.Binding, volume, h)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoKey, err)
	}
	return token.Open(ctx, v.cfg.KeyServer)
}

// vain is a token and a passphrase, hashed, of which is known that the one does not open the other.
type vain [sha256.Size]byte

// byPassphrase returns the key of a volume that a passphrase opens. One that does not is not tried on the same token again: that costs memory and time.
func (v *Volumes) byPassphrase(volume string, h luks.Header, text string) ([]byte, error) {
	data := tokenOf(h, passphrase.TokenType)
	token, err := passphrase.ParseToken(data)
	if err == nil {
		err = v.belongs(token.Binding, volume, h)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoKey, err)
	}
	tried := vain(sha256.Sum256(bytes.Join([][]byte{data, []byte(text)}, []byte{0})))
	v.mu.Lock()
	known := v.vain == tried
	v.mu.Unlock()
	if known {
		return nil, passphrase.ErrWrong
	}
	key, err := token.Open(text)
	if errors.Is(err, passphrase.ErrWrong) {
		v.mu.Lock()
		v.vain = tried
		v.mu.Unlock()
	}
	return key, explainNone(err)
}

// samePassphrase says that a passphrase is the one that opens the state volume on a device, if one does. Who has all keys changed does not mean to change that,
// and may not know what the places give by now: somebody could have put a volume to the machine, and take the disk later.
func (v *Volumes) samePassphrase(device string, text storage.Secret) error {
	h, err := luks.Inspect(device)
	if err != nil || modeOf(h) != storage.Passphrase {
		return err
	}
	key, err := v.byPassphrase(storage.State, h, text.Reveal())
	clear(key)
	return err
}

// belongs says whether a token belongs to a volume of this machine.
func (v *Volumes) belongs(b wrap.Binding, volume string, h luks.Header) error {
	return b.Check(volume, h.UUID, v.cfg.Machine)
}
