package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"
)

// Request says what a certificate is for.
type Request struct {
	CommonName    string
	Organizations []string
	DNSNames      []string
	Addresses     []netip.Addr
	// Client and Server are the extended key usages; at least one is needed.
	Client, Server bool
	// Lifetime counts from the time of issue; it is cut at the authority's end.
	Lifetime time.Duration
	// Key is the one that the certificate is for; nil makes a new one.
	Key crypto.Signer
}

// Pair is a certificate and its key, each one PEM block. It never prints the
// key.
type Pair struct {
	CertificatePEM, KeyPEM []byte
}

// String hides the key.
func (p Pair) String() string { return "certificate and key" }

// GoString is String.
func (p Pair) GoString() string { return p.String() }

// LogValue is String, for log/slog.
func (p Pair) LogValue() slog.Value { return slog.StringValue(p.String()) }

// TLS returns the pair in the form that crypto/tls takes.
func (p Pair) TLS() (tls.Certificate, error) {
	certificate, err := tls.X509KeyPair(p.CertificatePEM, p.KeyPEM)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("read certificate pair: %w", err)
	}
	return certificate, nil
}

// Issue signs a certificate, for a new key if the request has none.
func (a *Authority) Issue(r Request, now time.Time) (Pair, error) {
	template, key, err := r.prepare(now)
	if err != nil {
		return Pair{}, err
	}
	if template.NotAfter.After(a.certificate.NotAfter) {
		template.NotAfter = a.certificate.NotAfter
	}
	if template.NotAfter.Before(now) {
		return Pair{}, fmt.Errorf("issue certificate %q: %s expired at %s", r.CommonName, a, a.certificate.NotAfter.Format(time.RFC3339))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return Pair{}, fmt.Errorf("issue certificate %q: %w", r.CommonName, err)
	}
	return newPair(der, key)
}

// SelfSigned makes a certificate that no authority vouches for: what a node
// without configuration has to offer.
func SelfSigned(r Request, now time.Time) (Pair, error) {
	template, key, err := r.prepare(now)
	if err != nil {
		return Pair{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return Pair{}, fmt.Errorf("sign certificate %q: %w", r.CommonName, err)
	}
	return newPair(der, key)
}

// prepare checks the request and makes its template, and its key if it has none.
func (r Request) prepare(now time.Time) (*x509.Certificate, crypto.Signer, error) {
	if !r.Client && !r.Server {
		return nil, nil, fmt.Errorf("issue certificate %q: %w", r.CommonName, errNoUsage)
	}
	if r.Lifetime <= 0 {
		return nil, nil, fmt.Errorf("issue certificate %q: lifetime %s is not positive", r.CommonName, r.Lifetime)
	}
	key := r.Key
	if key == nil {
		fresh, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, nil, fmt.Errorf("make key of %q: %w", r.CommonName, err)
		}
		key = fresh
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: r.CommonName, Organization: r.Organizations},
		NotBefore:             now.Add(-backDate),
		NotAfter:              now.Add(r.Lifetime),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		DNSNames:              r.DNSNames,
	}
	for _, a := range r.Addresses {
		template.IPAddresses = append(template.IPAddresses, net.IP(a.Unmap().AsSlice()))
	}
	if r.Client {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	if r.Server {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	return template, key, nil
}

func newPair(der []byte, key crypto.Signer) (Pair, error) {
	keyPEM, err := marshalKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{CertificatePEM: encodeCertificate(der), KeyPEM: keyPEM}, nil
}

var errNoUsage = errors.New("neither client nor server")
