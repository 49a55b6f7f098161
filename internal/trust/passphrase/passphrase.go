// Package passphrase wraps the key of a volume with a passphrase that is given to the machine at each boot, and that is on no disk of it.
//
//	passphrase ─ Argon2id (salt) ─▶ secret ─ HKDF (salt, volume, machine's UUID) ─▶ key that wraps the volume's (package wrap)
//
// The machine's UUID in it gives each machine another key for the same passphrase, and keeps a disk shut that was put into another machine of the same
// owner. It is no secret, and adds nothing against who knows the passphrase.
//
// Each attempt to guess a passphrase costs three passes over 64 MiB of memory with four lanes, the second choice of RFC 9106, section 4, for where memory is
// scarce: the node computes it in its agent, beside all else. A passphrase that a program has made, as it should be, does not need it.
package passphrase

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"

	"golang.org/x/crypto/argon2"

	"github.com/cyvive/cyvive/internal/trust/wrap"
)

// TokenType names the form of the token among those of a LUKS2 header.
const TokenType = "cyvive-passphrase"

// tokenVersion is raised when an older release could misread a token, and with each other way to slow down guessing.
const tokenVersion = 1

// The cost of an attempt, of version 1. It is not in the token: whoever changes a header could have the node take any.
const (
	passes    = 3
	memoryKiB = 64 << 10
	lanes     = 4
)

const (
	// MaxBytes is the longest passphrase.
	MaxBytes = 512
	// maxTokenBytes is more than any token has.
	maxTokenBytes = 2 << 10
)

var (
	// ErrNone says that there is no passphrase.
	ErrNone = errors.New("no passphrase")
	// ErrWrong says that a passphrase is another one, or that the token was changed.
	ErrWrong = errors.New("it is another passphrase than the disk was made with, or the header of the volume was changed")
)

// Token is a key that a passphrase opens, as the header of its volume keeps it.
type Token struct {
	wrap.Binding
	// Salt is random, and Wrapped the volume's key.
	Salt, Wrapped []byte
}

// Seal wraps a key for the volume and machine of a binding.
func Seal(passphrase string, b wrap.Binding, key []byte) (Token, error) {
	t := Token{Binding: b, Salt: make([]byte, wrap.SecretBytes)}
	_, _ = rand.Read(t.Salt) // never fails: crypto/rand, since Go 1.24
	secret, err := derive(passphrase, t.Salt)
	if err != nil {
		return Token{}, err
	}
	defer clear(secret)
	t.Wrapped, err = wrap.Wrap(secret, t.Salt, b.Context(TokenType), key)
	return t, err
}

// Open returns the key. The error is ErrNone or ErrWrong where it is one of them.
func (t Token) Open(passphrase string) ([]byte, error) {
	secret, err := derive(passphrase, t.Salt)
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	key, err := wrap.Unwrap(secret, t.Salt, t.Context(TokenType), t.Wrapped)
	if errors.Is(err, wrap.ErrOther) {
		return nil, ErrWrong
	}
	return key, err
}

func derive(passphrase string, salt []byte) ([]byte, error) {
	switch {
	case passphrase == "":
		return nil, ErrNone
	case len(passphrase) > MaxBytes:
		return nil, fmt.Errorf("use passphrase: it has %d bytes, expected %d at most", len(passphrase), MaxBytes)
	}
	text := []byte(passphrase)
	defer clear(text)
	secret := argon2.IDKey(text, salt, passes, memoryKiB, lanes, wrap.SecretBytes)
	debug.FreeOSMemory() // it was more than all else that the agent has
	return secret, nil
}

// tokenText is the JSON form.
type tokenText struct {
	wrap.Text
	Salt    []byte `json:"salt"`
	Wrapped []byte `json:"wrapped"`
}

// Encode returns the token as a LUKS2 header takes it.
func (t Token) Encode() ([]byte, error) {
	out, err := json.Marshal(tokenText{Text: t.Binding.Text(TokenType, tokenVersion), Salt: t.Salt, Wrapped: t.Wrapped})
	if err != nil {
		return nil, fmt.Errorf("encode token: %w", err)
	}
	return out, nil
}

// ParseToken reads a token.
func ParseToken(data []byte) (Token, error) {
	if len(data) > maxTokenBytes {
		return Token{}, fmt.Errorf("parse token: it has %d bytes, expected %d at most", len(data), maxTokenBytes)
	}
	var text tokenText
	if err := wrap.Decode(data, &text); err != nil {
		return Token{}, fmt.Errorf("parse token: %w", err)
	}
	b, err := text.Text.Binding(TokenType, tokenVersion)
	if err == nil && (len(text.Salt) != wrap.SecretBytes || len(text.Wrapped) != wrap.WrappedBytes) {
		err = fmt.Errorf("salt and wrapped key have %d and %d bytes, expected %d and %d", len(text.Salt), len(text.Wrapped), wrap.SecretBytes, wrap.WrappedBytes)
	}
	if err != nil {
		return Token{}, fmt.Errorf("parse token: %w", err)
	}
	return Token{Binding: b, Salt: text.Salt, Wrapped: text.Wrapped}, nil
}
