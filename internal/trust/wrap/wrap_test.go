package wrap

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"testing"
)

func filled(b byte) []byte { return bytes.Repeat([]byte{b}, SecretBytes) }

// TestWrap: all four parts have to be right, and each of them alone makes nothing out.
func TestWrap(t *testing.T) {
	key := filled(3)
	wrapped, err := Wrap(filled(1), filled(2), "state of one", key)
	if err != nil || len(wrapped) != WrappedBytes {
		t.Fatalf("wrapped to %d bytes, %v", len(wrapped), err)
	}
	if bytes.Contains(wrapped, key) {
		t.Error("the key is in it")
	}
	got, err := Unwrap(filled(1), filled(2), "state of one", wrapped)
	if err != nil || !bytes.Equal(got, key) {
		t.Errorf("unwrapped %x, %v", got, err)
	}
	for name, c := range map[string]struct {
		secret, salt []byte
		context      string
		wrapped      []byte
	}{
		"another secret":  {filled(9), filled(2), "state of one", wrapped},
		"another salt":    {filled(1), filled(9), "state of one", wrapped},
		"another context": {filled(1), filled(2), "state of two", wrapped},
		"nothing":         {filled(1), filled(2), "state of one", nil},
		"cut off":         {filled(1), filled(2), "state of one", wrapped[:WrappedBytes-1]},
	} {
		if got, err := Unwrap(c.secret, c.salt, c.context, c.wrapped); !errors.Is(err, ErrOther) || got != nil {
			t.Errorf("%s: %x, %v", name, got, err)
		}
	}
	for bit := range 8 * WrappedBytes {
		changed := bytes.Clone(wrapped)
		changed[bit/8] ^= 1 << (bit % 8)
		if _, err := Unwrap(filled(1), filled(2), "state of one", changed); !errors.Is(err, ErrOther) {
			t.Errorf("with bit %d changed: %v", bit, err)
		}
	}
	again, err := Wrap(filled(1), filled(2), "state of one", key)
	if err != nil || bytes.Equal(again, wrapped) {
		t.Errorf("the same key is wrapped to the same bytes: %v", err)
	}
}

// TestWrapForm holds what Wrap does against RFC 5869, written out: a key that one release has wrapped is unwrapped by every later one.
func TestWrapForm(t *testing.T) {
	secret, salt, context, key := filled(1), filled(2), "state of one", filled(3)
	sum := func(key []byte, parts ...[]byte) []byte {
		h := hmac.New(sha256.New, key)
		for _, p := range parts {
			h.Write(p)
		}
		return h.Sum(nil)
	}
	block, err := aes.NewCipher(sum(sum(salt, secret), []byte(context), []byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	nonce := filled(7)[:gcm.NonceSize()]
	got, err := Unwrap(secret, salt, context, gcm.Seal(bytes.Clone(nonce), nonce, key, []byte(context)))
	if err != nil || !bytes.Equal(got, key) {
		t.Errorf("unwrapped %x, %v", got, err)
	}
}

func TestWrapRefuses(t *testing.T) {
	for name, c := range map[string]struct{ secret, salt, key []byte }{
		"secret": {nil, filled(2), filled(3)}, "salt": {filled(1), filled(2)[1:], filled(3)}, "key": {filled(1), filled(2), filled(3)[1:]},
	} {
		if _, err := Wrap(c.secret, c.salt, "", c.key); err == nil {
			t.Errorf("a short %s was taken", name)
		}
	}
}
