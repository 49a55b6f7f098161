package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"time"
)

const (
	// backDate is subtracted from the time of issue, see the package comment.
	backDate = time.Hour
	// authorityLifetime is how long a new authority lives. Replacing one needs
	// a new configuration on every node, so it is long.
	authorityLifetime = 10 * 365 * 24 * time.Hour
)

// Authority is a certificate authority. It is immutable and safe for concurrent
// use. It never prints its key.
type Authority struct {
	certificate    *x509.Certificate
	key            crypto.Signer
	certificatePEM []byte
	keyPEM         []byte
}

// NewAuthority makes a self-signed authority that is valid for ten years.
func NewAuthority(commonName string, now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key of authority %q: %w", commonName, err)
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, err
	}
	return sign(key, &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: commonName},
		NotBefore:    now.Add(-backDate),
		NotAfter:     now.Add(authorityLifetime),
	}, rand.Reader)
}

// sign makes an authority of a key, which signs the template itself, with what
// every authority has. Without random bytes the signature is always the same
// (RFC 6979).
func sign(key *ecdsa.PrivateKey, template *x509.Certificate, random io.Reader) (*Authority, error) {
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid, template.IsCA = true, true
	der, err := x509.CreateCertificate(random, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign authority %q: %w", template.Subject.CommonName, err)
	}
	keyPEM, err := marshalKey(key)
	if err != nil {
		return nil, err
	}
	return ParseAuthority(encodeCertificate(der), keyPEM)
}

// ParseAuthority reads an authority from PEM. The certificate must be a CA's,
// and the key must be its key: PKCS #8, SEC 1 (EC) or PKCS #1 (RSA). Errors
// never contain the input.
func ParseAuthority(certificatePEM, keyPEM []byte) (*Authority, error) {
	certificate, err := ParseCertificate(certificatePEM)
	if err != nil {
		return nil, err
	}
	if !certificate.IsCA {
		return nil, fmt.Errorf("read authority %q: not a CA certificate", certificate.Subject.CommonName)
	}
	key, err := ParseKey(keyPEM)
	if err != nil {
		return nil, err
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(certificate.PublicKey) {
		return nil, fmt.Errorf("read authority %q: the key is not the certificate's", certificate.Subject.CommonName)
	}
	return &Authority{
		certificate:    certificate,
		key:            key,
		certificatePEM: bytes.Clone(certificatePEM),
		keyPEM:         bytes.Clone(keyPEM),
	}, nil
}

// Certificate returns the parsed certificate. The caller must not change it.
func (a *Authority) Certificate() *x509.Certificate { return a.certificate }

// CertificatePEM returns the certificate as one PEM block.
func (a *Authority) CertificatePEM() []byte { return bytes.Clone(a.certificatePEM) }

// KeyPEM returns the private key as one PEM block.
func (a *Authority) KeyPEM() []byte { return bytes.Clone(a.keyPEM) }

// Pool returns a new pool that trusts this authority and no other.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

// Equal reports whether both are the same authority with the same key. Two nil
// authorities are equal.
func (a *Authority) Equal(b *Authority) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.certificate.Equal(b.certificate)
}

// String names the authority; it never shows the key.
func (a *Authority) String() string {
	if a == nil {
		return "no authority"
	}
	return "authority " + a.certificate.Subject.CommonName
}

// GoString is String, so that %#v shows no key either.
func (a *Authority) GoString() string { return a.String() }

// LogValue is String, for log/slog.
func (a *Authority) LogValue() slog.Value { return slog.StringValue(a.String()) }

// serialNumber returns 127 random bits: RFC 5280 section 4.1.2.2 asks for a
// positive number of at most 20 octets.
func serialNumber() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("draw serial number: %w", err)
	}
	return serial.Add(serial, big.NewInt(1)), nil
}

var errNoPEM = errors.New("no PEM block")
