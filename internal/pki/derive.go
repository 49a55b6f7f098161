package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
)

// derivedBytes are drawn for a key of 32 bytes: so many more that the remainder
// by the order of P-256 is as good as even (FIPS 186-5, appendix A.2.1).
const derivedBytes = 48

// Derive returns an authority for a purpose whose key is made of this one's and of
// the purpose, by HKDF with SHA-256 (RFC 5869), and of nothing else: whoever has this
// authority has that one, the same on every node, and nobody has more to keep, or to
// bring to a node. The other way there is none: what is signed by it is not signed by
// this one, does not chain to it, and its key tells nothing of this one's.
//
// The certificate lives as long as this one's, and is the same byte for byte as often
// as it is made.
func (a *Authority) Derive(purpose string) (*Authority, error) {
	key, err := deriveKey(a.key, "cyvive authority: "+purpose)
	if err != nil {
		return nil, fmt.Errorf("derive authority for %s from %s: %w", purpose, a, err)
	}
	return sign(key, &x509.Certificate{
		// The issuer is another, so the number may be the same.
		SerialNumber: a.certificate.SerialNumber,
		Subject:      pkix.Name{CommonName: a.certificate.Subject.CommonName + " " + purpose},
		NotBefore:    a.certificate.NotBefore,
		NotAfter:     a.certificate.NotAfter,
	}, nil)
}

// deriveKey makes a key of P-256 of another key, for what info says.
func deriveKey(from crypto.Signer, info string) (*ecdsa.PrivateKey, error) {
	secret, err := rawKey(from)
	if err != nil {
		return nil, err
	}
	drawn, err := hkdf.Key(sha256.New, secret, nil, info, derivedBytes)
	if err != nil {
		return nil, err
	}
	// A private key is a number from 1 to the order less 1.
	one := big.NewInt(1)
	number := new(big.Int).SetBytes(drawn)
	number.Mod(number, new(big.Int).Sub(elliptic.P256().Params().N, one))
	number.Add(number, one)
	return ecdsa.ParseRawPrivateKey(elliptic.P256(), number.FillBytes(make([]byte, 32)))
}

// rawKey returns what is secret of a key, in the same bytes in whatever form it was
// read, and in every version of this program: nodes of two versions must come to the
// same authority.
func rawKey(key crypto.Signer) ([]byte, error) {
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		return k.Bytes()
	case *rsa.PrivateKey:
		return k.D.Bytes(), nil
	case ed25519.PrivateKey:
		return k.Seed(), nil
	}
	return nil, errors.New("the kind of its key is none of ECDSA, RSA and Ed25519")
}
