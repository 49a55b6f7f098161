package release

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
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

// envelope is a DSSE envelope (github.com/secure-systems-lab/dsse, envelope.md 1.0).
type envelope struct {
	PayloadType string      `json:"payloadType"`
	Payload     string      `json:"payload"`
	Signatures  []signature `json:"signatures"`
}

type signature struct {
	KeyID string `json:"keyid"`
	Sig   string `json:"sig"`
}

// encode is the pre-authentication encoding: what is signed.
func encode(kind string, payload []byte) []byte {
	return append(fmt.Appendf(nil, "DSSEv1 %d %s %d ", len(kind), kind, len(payload)), payload...)
}

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
	out, err := json.MarshalIndent(envelope{
		PayloadType: payloadType, Payload: base64.StdEncoding.EncodeToString(payload),
		Signatures: []signature{{
			KeyID: KeyID(key.Public().(ed25519.PublicKey)),
			Sig:   base64.StdEncoding.EncodeToString(ed25519.Sign(key, encode(payloadType, payload))),
		}},
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("sign manifest: %w", err)
	}
	return append(out, '\n'), nil
}

// Verify returns the manifest in an envelope that one of the keys has signed. The manifest is not looked at before. The error is
// ErrMalformed or ErrUntrusted.
func Verify(data []byte, keys []ed25519.PublicKey) (Manifest, error) {
	var e envelope
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		return Manifest{}, fmt.Errorf("read envelope: %w: %w", ErrMalformed, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Manifest{}, fmt.Errorf("read envelope: %w: there is something behind it", ErrMalformed)
	}
	payload, err := base64.StdEncoding.Strict().DecodeString(e.Payload)
	switch {
	case err != nil:
		return Manifest{}, fmt.Errorf("read envelope: %w: %w", ErrMalformed, err)
	case e.PayloadType != payloadType:
		return Manifest{}, fmt.Errorf("read envelope: %w: its payload is %q, want %q", ErrMalformed, e.PayloadType, payloadType)
	}
	if err := e.trusted(payload, keys); err != nil {
		return Manifest{}, fmt.Errorf("verify release: %w", err)
	}
	m, err := ParseManifest(payload)
	if err != nil {
		return Manifest{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return m, nil
}

// trusted looks for a signature of one of the keys.
func (e envelope) trusted(payload []byte, keys []ed25519.PublicKey) error {
	if len(e.Signatures) == 0 {
		return fmt.Errorf("%w: it has no signature", ErrUntrusted)
	}
	signed := encode(e.PayloadType, payload)
	var others []string
	for _, s := range e.Signatures {
		sig, err := base64.StdEncoding.DecodeString(s.Sig)
		if err != nil {
			return fmt.Errorf("%w: signature of key %.16q: %w", ErrMalformed, s.KeyID, err)
		}
		known := false
		for _, k := range keys {
			known = known || KeyID(k) == s.KeyID
			if ed25519.Verify(k, signed, sig) {
				return nil
			}
		}
		if known {
			return fmt.Errorf("%w: the signature of key %s does not match", ErrUntrusted, s.KeyID)
		}
		others = append(others, fmt.Sprintf("%.16q", s.KeyID))
	}
	return fmt.Errorf("%w: it is signed by key %s; trusted are %s", ErrUntrusted, strings.Join(others, ", "), keyIDs(keys))
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
