package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// Fingerprint is the SHA-256 of a public key in the form in which certificates hold it (SubjectPublicKeyInfo, DER; RFC 5280 section 4.1.2.7). Who has it
// knows the key when it comes.
type Fingerprint [sha256.Size]byte

// fingerprintPrefix begins the text form, which is that of OpenSSH: base64 without padding.
const fingerprintPrefix = "SHA256:"

// String is "SHA256:" and 43 characters of base64.
func (f Fingerprint) String() string {
	return fingerprintPrefix + base64.RawStdEncoding.EncodeToString(f[:])
}

// MarshalText is String, for encoders.
func (f Fingerprint) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// IsZero tells whether f is no key's.
func (f Fingerprint) IsZero() bool { return f == Fingerprint{} }

// FingerprintOf is that of a public key.
func FingerprintOf(key crypto.PublicKey) (Fingerprint, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return Fingerprint{}, fmt.Errorf("encode public key: %w", err)
	}
	return sha256.Sum256(der), nil
}

// CertificateFingerprint is that of the key which a certificate is for.
func CertificateFingerprint(c *x509.Certificate) Fingerprint {
	return sha256.Sum256(c.RawSubjectPublicKeyInfo)
}

// ParseFingerprint reads the text form. In place of base64 it takes 64 hexadecimal digits, with or without colons between the bytes, as openssl prints them.
func ParseFingerprint(text string) (Fingerprint, error) {
	const expected = "expected SHA256: and 43 characters of base64 or 64 hexadecimal digits"
	if len(text) < len(fingerprintPrefix) || !strings.EqualFold(text[:len(fingerprintPrefix)], fingerprintPrefix) {
		return Fingerprint{}, fmt.Errorf("fingerprint %.100q: %s", text, expected)
	}
	digest := text[len(fingerprintPrefix):]
	raw, err := hex.DecodeString(withoutColons(digest))
	if err != nil || len(raw) != sha256.Size {
		raw, err = base64.RawStdEncoding.Strict().DecodeString(strings.TrimSuffix(digest, "="))
	}
	// The decoder passes over line breaks.
	if err != nil || len(raw) != sha256.Size || strings.ContainsAny(digest, "\r\n") {
		return Fingerprint{}, fmt.Errorf("fingerprint %.100q: %s", text, expected)
	}
	return Fingerprint(raw), nil
}

// withoutColons takes out the colons between bytes; a text that has others stays.
func withoutColons(digest string) string {
	if len(digest) != 3*sha256.Size-1 {
		return digest
	}
	var out strings.Builder
	for i := range len(digest) {
		if i%3 == 2 {
			if digest[i] != ':' {
				return digest
			}
			continue
		}
		out.WriteByte(digest[i])
	}
	return out.String()
}

// ParsePublic reads what a key is known by: its fingerprint, or the key itself as PEM ("PUBLIC KEY") or as the base64 of its DER, without line breaks. The
// key must be one that [Strong] takes.
func ParsePublic(text string) (Fingerprint, error) {
	text = strings.TrimSpace(text)
	if len(text) >= len(fingerprintPrefix) && strings.EqualFold(text[:len(fingerprintPrefix)], fingerprintPrefix) {
		return ParseFingerprint(text)
	}
	der, err := publicDER(text)
	if err != nil {
		return Fingerprint{}, err
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return Fingerprint{}, errors.New("read public key: it is none (SubjectPublicKeyInfo, DER)")
	}
	if err := Strong(key); err != nil {
		return Fingerprint{}, fmt.Errorf("read public key: %w", err)
	}
	return FingerprintOf(key)
}

// publicDER takes the wrapping off a public key. Errors never contain the input: it may be a private key.
func publicDER(text string) ([]byte, error) {
	if !strings.HasPrefix(text, "-----BEGIN") {
		der, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(der) == 0 {
			return nil, errors.New("read public key: expected a fingerprint SHA256:…, or a public key as PEM or as base64 of its DER")
		}
		return der, nil
	}
	block, rest := pem.Decode([]byte(text))
	switch {
	case block == nil:
		return nil, errors.New("read public key: the PEM block is not whole")
	case block.Type != "PUBLIC KEY":
		return nil, fmt.Errorf("read public key: the PEM block is %.40q, expected PUBLIC KEY", block.Type)
	case strings.TrimSpace(string(rest)) != "":
		return nil, errors.New("read public key: there is more behind the PEM block, expected one key")
	}
	return block.Bytes, nil
}

// minRSABits is what NIST SP 800-57 part 1 revision 5, table 2 has for 112 bits of security, the least that is to be used.
const minRSABits = 2048

// Strong is an error for a public key that is too weak to trust, or of a kind that TLS 1.3 has no signatures for.
func Strong(key crypto.PublicKey) error {
	switch k := key.(type) {
	case ed25519.PublicKey:
		return nil
	case *ecdsa.PublicKey:
		if bits := k.Curve.Params().BitSize; bits < 256 {
			return fmt.Errorf("an elliptic curve of %d bits, expected 256 at least", bits)
		}
		return nil
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits {
			return fmt.Errorf("an RSA key of %d bits, expected %d at least", bits, minRSABits)
		}
		return nil
	default:
		return errors.New("expected a key of Ed25519, ECDSA or RSA")
	}
}
