package secureboot

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
)

// signature is a PKCS #7 signature by one signer.
type signature struct {
	signedData
	certificates []*x509.Certificate
}

// parseWrapped reads a signature in ContentInfo, and parseSigned one without. Behind it there may be zeros, which pad.
func parseWrapped(der []byte) (signature, error) {
	var outer contentInfo
	rest, err := asn1.Unmarshal(der, &outer)
	if err != nil {
		return signature{}, fmt.Errorf("parse signature: %w: %w", ErrSignature, err)
	}
	if !outer.Type.Equal(oidSignedData) || len(bytes.Trim(rest, "\x00")) > 0 {
		return signature{}, fmt.Errorf("parse signature: %w: it has the type %v, with %d bytes behind it", ErrSignature, outer.Type, len(rest))
	}
	return parseSigned(outer.Content.Bytes)
}

func parseSigned(der []byte) (signature, error) {
	var s signature
	rest, err := asn1.Unmarshal(der, &s.signedData)
	if err != nil {
		return s, fmt.Errorf("parse signature: %w: %w", ErrSignature, err)
	}
	if len(bytes.Trim(rest, "\x00")) > 0 || len(s.Signers) != 1 {
		return s, fmt.Errorf("parse signature: %w: it has %d signers, and %d bytes behind it", ErrSignature, len(s.Signers), len(rest))
	}
	if s.certificates, err = x509.ParseCertificates(s.Certificates.Bytes); err != nil {
		return s, fmt.Errorf("parse signature: %w: certificates: %w", ErrSignature, err)
	}
	info := s.Signers[0]
	rsa := info.Algorithm.Algorithm.Equal(oidRSA) || info.Algorithm.Algorithm.Equal(oidRSAWithSHA256)
	sha := func(oid asn1.ObjectIdentifier) bool { return oid.Equal(oidSHA256) }
	if !rsa || !sha(info.Digest.Algorithm) || len(s.Digests) != 1 || !sha(s.Digests[0].Algorithm) {
		return s, fmt.Errorf("parse signature: %w: it is with %v of %v, and not with RSA of SHA-256", ErrSignature, info.Algorithm.Algorithm, info.Digest.Algorithm)
	}
	return s, nil
}

// by finds the signer's certificate in the signature or among others.
func (s signature) by(others ...*x509.Certificate) (*x509.Certificate, error) {
	issuer := s.Signers[0].Issuer
	for _, c := range slices.Concat(s.certificates, others) {
		if bytes.Equal(c.RawIssuer, issuer.Issuer.FullBytes) && issuer.Serial != nil && c.SerialNumber.Cmp(issuer.Serial) == 0 {
			return c, nil
		}
	}
	return nil, fmt.Errorf("verify signature: %w: the signer's certificate is not with it", ErrSignature)
}

// verify checks the signature over data by the key of a certificate. Data is what was hashed: without attributes it was signed itself.
func (s signature) verify(data []byte, signer *x509.Certificate) error {
	info := s.Signers[0]
	signed := data
	if len(info.Attributes.FullBytes) > 0 {
		if err := s.checkAttributes(data); err != nil {
			return err
		}
		signed = bytes.Clone(info.Attributes.FullBytes)
		signed[0] = asn1.TagSet | 0x20 // a constructed set (RFC 2315, 9.3)
	}
	if err := signer.CheckSignature(x509.SHA256WithRSA, signed, info.Signature); err != nil {
		return fmt.Errorf("verify signature of %q: %w: %w", signer.Subject, ErrSignature, err)
	}
	return nil
}

// checkAttributes wants the attributes to name the content and its hash.
func (s signature) checkAttributes(data []byte) error {
	hash := sha256.Sum256(data)
	var gotType asn1.ObjectIdentifier
	var gotHash []byte
	for rest := s.Signers[0].Attributes.Bytes; len(rest) > 0; {
		var a attribute
		var err error
		if rest, err = asn1.Unmarshal(rest, &a); err != nil {
			return fmt.Errorf("parse signature: %w: attributes: %w", ErrSignature, err)
		}
		switch {
		case a.Type.Equal(oidContentType):
			_, err = asn1.Unmarshal(a.Values.Bytes, &gotType)
		case a.Type.Equal(oidMessageDigest):
			_, err = asn1.Unmarshal(a.Values.Bytes, &gotHash)
		}
		if err != nil {
			return fmt.Errorf("parse signature: %w: attribute %v: %w", ErrSignature, a.Type, err)
		}
	}
	if !gotType.Equal(s.Content.Type) || !bytes.Equal(gotHash, hash[:]) {
		return fmt.Errorf("verify signature: %w: it is over other content", ErrSignature)
	}
	return nil
}
