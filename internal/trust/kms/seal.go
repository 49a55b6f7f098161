package kms

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/cyvive/cyvive/internal/trust/wrap"
)

// Seal has a server keep the half of a key for the volume and machine of a binding. Before anything depends on it, the server has to show that it gives
// out what it has sealed. Errors of the server are ErrServer.
func Seal(ctx context.Context, c Caller, s Server, b wrap.Binding, key []byte) (Token, error) {
	secret, half := random(), random()
	defer clear(secret)
	sealed, err := c.Seal(ctx, s, b.Machine, secret)
	if err != nil {
		return Token{}, err
	}
	if len(sealed) == 0 || len(sealed) > maxSealedBytes {
		return Token{}, fmt.Errorf("%w %s was asked to seal a key: it answers with %d bytes, expected 1 to %d", ErrServer, s, len(sealed), maxSealedBytes)
	}
	if bytes.Contains(sealed, secret) {
		return Token{}, fmt.Errorf("%w %s was asked to seal a key: it answers with the key itself, which it did not encrypt", ErrServer, s)
	}
	again, err := c.Unseal(ctx, s, b.Machine, sealed)
	if err != nil {
		return Token{}, fmt.Errorf("try whether it will open again: %w", err)
	}
	defer clear(again)
	if !bytes.Equal(again, secret) {
		return Token{}, fmt.Errorf("try whether it will open again: %w %s gives out something else than it was asked to seal", ErrServer, s)
	}
	wrapped, err := wrap.Wrap(secret, half, b.Context(TokenType), key)
	if err != nil {
		return Token{}, err
	}
	return Token{Binding: b, Server: s, Sealed: sealed, Half: half, Wrapped: wrapped}, nil
}

// Open has the token's server give out its half, and returns the volume's key. Errors of the server, and an answer that is not the half, are ErrServer.
func (t Token) Open(ctx context.Context, c Caller) ([]byte, error) {
	secret, err := c.Unseal(ctx, t.Server, t.Machine, t.Sealed)
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	if len(secret) != wrap.SecretBytes {
		return nil, fmt.Errorf("%w %s was asked to unseal a key: it answers with %d bytes, expected %d", ErrServer, t.Server, len(secret), wrap.SecretBytes)
	}
	key, err := wrap.Unwrap(secret, t.Half, t.Context(TokenType), t.Wrapped)
	if errors.Is(err, wrap.ErrOther) {
		return nil, fmt.Errorf("%w %s gives out another key than it was asked to seal: it has another key of its own by now, does not know this machine (%s), "+
			"or the header of the volume was changed", ErrServer, t.Server, t.Machine)
	}
	return key, err
}

func random() []byte {
	out := make([]byte, wrap.SecretBytes)
	_, _ = rand.Read(out) // never fails: crypto/rand, since Go 1.24
	return out
}
