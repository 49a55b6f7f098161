// Package wrap encrypts the key of a volume with a key that is made of several parts, none of which opens the volume alone.
//
//	secret (of a key server, or of a passphrase) ─┐
//	salt (in the volume's header)                ─┼─ HKDF-SHA-256 ─▶ key ─ AES-256-GCM ─▶ the volume's key, wrapped
//	context (which volume of which machine)      ─┘
//
// Who has the secret alone cannot tell the key from it, and who has the header alone has nothing but noise. The secret has to be one that cannot be
// guessed: what people think up goes through a slow function first (package passphrase).
package wrap

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
)

const (
	// SecretBytes is the size of a secret, of a salt, and of what is wrapped.
	SecretBytes = 32
	// WrappedBytes is that of a wrapped key: a nonce and a tag more (cipher.NewGCMWithRandomNonce).
	WrappedBytes = SecretBytes + 28
)

// ErrOther says that a secret is not the one that a key was wrapped with, or that salt, context or the wrapped key were changed.
var ErrOther = errors.New("the key was wrapped with another secret, or was changed since")

// Wrap encrypts a key. Each salt is used once.
func Wrap(secret, salt []byte, context string, key []byte) ([]byte, error) {
	if len(key) != SecretBytes {
		return nil, fmt.Errorf("wrap key: it has %d bytes, expected %d", len(key), SecretBytes)
	}
	a, err := aead(secret, salt, context)
	if err != nil {
		return nil, fmt.Errorf("wrap key: %w", err)
	}
	return a.Seal(nil, nil, key, []byte(context)), nil
}

// Unwrap decrypts one. The error is ErrOther where secret, salt, context and wrapped key are not those of one call of Wrap.
func Unwrap(secret, salt []byte, context string, wrapped []byte) ([]byte, error) {
	a, err := aead(secret, salt, context)
	if err != nil {
		return nil, fmt.Errorf("unwrap key: %w", err)
	}
	key, err := a.Open(nil, nil, wrapped, []byte(context))
	if err != nil || len(key) != SecretBytes {
		return nil, fmt.Errorf("unwrap key: %w", ErrOther)
	}
	return key, nil
}

func aead(secret, salt []byte, context string) (cipher.AEAD, error) {
	if len(secret) != SecretBytes || len(salt) != SecretBytes {
		return nil, fmt.Errorf("secret and salt have %d and %d bytes, expected %d each", len(secret), len(salt), SecretBytes)
	}
	key, err := hkdf.Key(sha256.New, secret, salt, context, SecretBytes)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
