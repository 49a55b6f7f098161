package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"time"
)

// OwnerRequest says for whom and how long an owner's key vouches.
type OwnerRequest struct {
	// CommonName is who it is, for the audit log, and Organizations are roles.
	CommonName    string
	Organizations []string
	// NotBefore and NotAfter bound the certificate. A node without a configuration has no time to trust, and looks at the second only.
	NotBefore, NotAfter time.Time
}

// OwnerCertificate makes a client certificate with a new key and signs it with the owner's. Behind it in the chain comes a certificate that the owner's key has
// signed for itself: nodes that know the owner by the fingerprint alone take the key from it. Nothing of the result is meant to be stored.
func OwnerCertificate(owner crypto.Signer, r OwnerRequest) (tls.Certificate, error) {
	serial, err := serialNumber()
	if err != nil {
		return tls.Certificate{}, err
	}
	self := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "owner"}, NotBefore: r.NotBefore, NotAfter: r.NotAfter,
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	parent, err := x509.CreateCertificate(rand.Reader, self, self, owner.Public(), owner)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("sign the owner's certificate: %w", err)
	}
	leaf, key, err := Request{CommonName: r.CommonName, Organizations: r.Organizations, Client: true, Lifetime: 1}.prepare(r.NotBefore)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf.NotBefore, leaf.NotAfter = r.NotBefore, r.NotAfter
	der, err := x509.CreateCertificate(rand.Reader, leaf, self, key.Public(), owner)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("sign client certificate %q: %w", r.CommonName, err)
	}
	return tls.Certificate{Certificate: [][]byte{der, parent}, PrivateKey: key}, nil
}
