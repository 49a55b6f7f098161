package release

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// payloadType names what an envelope holds.
const payloadType = "application/vnd.cyvive.release.v1+json"

// Refusals of a release, for errors.Is.
var (
	// ErrMalformed: it is not a release, or not all of one.
	ErrMalformed = errors.New("not a whole release")
	// ErrUntrusted: no key of the node's has signed it.
	ErrUntrusted = errors.New("not signed by a key that this node trusts")
	// ErrAltered: a part is not the one that was signed.
	ErrAltered = errors.New("altered after it was signed")
)

// KeyID names a key: the first 16 hexadecimal digits of the SHA-256 of its 32 bytes. It is for people and for errors; what trusts a key
// compares all of it.
func KeyID(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:8])
}

// Sign returns the envelope of a manifest.
func Sign(m Manifest, key ed25519.PrivateKey) ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("sign manifest: %w", err)
	}
	payload, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("sign manifest: %w", err)
	}
	return form.Sign(payload, key)
}

// Verify returns the manifest in an envelope that one of the keys has signed. The manifest is not looked at before. The error is
// ErrMalformed or ErrUntrusted.
func Verify(data []byte, keys []ed25519.PublicKey) (Manifest, error) {
	payload, err := form.Verify(data, keys)
	if err != nil {
		return Manifest{}, err
	}
	m, err := ParseManifest(payload)
	if err != nil {
		return Manifest{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return m, nil
}

func keyIDs(keys []ed25519.PublicKey) string {
	if len(keys) == 0 {
		return "none"
	}
	var ids []string
	for _, k := range keys {
		ids = append(ids, KeyID(k))
	}
	return strings.Join(ids, ", ")
}

// ParsePublicKeys reads Ed25519 public keys, PEM blocks of the type PUBLIC KEY (RFC 5480, RFC 8410), with nothing between them.
func ParsePublicKeys(data []byte) ([]ed25519.PublicKey, error) {
	var keys []ed25519.PublicKey
	for rest := bytes.TrimSpace(data); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var block *pem.Block
		if !bytes.HasPrefix(rest, []byte("-----BEGIN ")) {
			return nil, fmt.Errorf("read release key %d: text outside of a PEM block", len(keys)+1)
		}
		if block, rest = pem.Decode(rest); block == nil || block.Type != "PUBLIC KEY" {
			return nil, fmt.Errorf("read release key %d: not a PEM block of the type PUBLIC KEY", len(keys)+1)
		}
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read release key %d: %w", len(keys)+1, err)
		}
		key, ok := parsed.(ed25519.PublicKey)
		if !ok {
			return nil, fmt.Errorf("read release key %d: a key of type %T, want Ed25519", len(keys)+1, parsed)
		}
		keys = append(keys, key)
	}
	return keys, nil
}
