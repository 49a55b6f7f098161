package secureboot

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// Identifiers of RFC 2315, RFC 8017, RFC 5754 and of the Authenticode format.
var (
	oidSignedData    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidData          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidContentType   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSHA256        = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidRSA           = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidRSAWithSHA256 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}
	oidIndirectData  = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 4}
	oidPEImage       = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 15}
)

// Signer is a key with its certificate.
type Signer struct {
	Certificate *x509.Certificate
	// Key is that of the certificate.
	Key *rsa.PrivateKey
}

// The structures of RFC 2315, 7 and 9.
type (
	contentInfo struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue `asn1:"explicit,optional,tag:0"`
	}
	signedData struct {
		Version      int
		Digests      []pkix.AlgorithmIdentifier `asn1:"set"`
		Content      contentInfo
		Certificates asn1.RawValue `asn1:"optional,tag:0"`
		Lists        asn1.RawValue `asn1:"optional,tag:1"` // of revoked certificates
		Signers      []signerInfo  `asn1:"set"`
	}
	signerInfo struct {
		Version    int
		Issuer     issuerAndSerial
		Digest     pkix.AlgorithmIdentifier
		Attributes asn1.RawValue `asn1:"optional,tag:0"`
		Algorithm  pkix.AlgorithmIdentifier
		Signature  []byte
		Unsigned   asn1.RawValue `asn1:"optional,tag:1"`
	}
	issuerAndSerial struct {
		Issuer asn1.RawValue
		Serial *big.Int
	}
	attribute struct {
		Type   asn1.ObjectIdentifier
		Values asn1.RawValue
	}
)

// within returns DER in a wrapping of the context's tag, constructed.
func within(tag int, der []byte) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: true, Bytes: der}
}

// set is a set of one or more encoded members, in the order that DER asks for (X.690, 11.6).
func set(members ...[]byte) ([]byte, error) {
	slices.SortFunc(members, bytes.Compare)
	return asn1.Marshal(asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: bytes.Join(members, nil)})
}

func algorithm(oid asn1.ObjectIdentifier) pkix.AlgorithmIdentifier {
	return pkix.AlgorithmIdentifier{Algorithm: oid, Parameters: asn1.NullRawValue}
}

// signing is what is signed, and how that is said.
type signing struct {
	// kind is that of the content, which is put into the signature if it is not nil.
	kind    asn1.ObjectIdentifier
	content []byte
	// signed is what is hashed.
	signed []byte
	// attributes say what is signed in attributes, which are signed in its place. RFC 2315, 9.2 wants them for any content but plain data, and UEFI forbids
	// them for that.
	attributes bool
	// withCertificate puts the signer's certificate in.
	withCertificate bool
	// bare leaves out the parameters of the hash's identifier, which may be there or not (RFC 5754, 2).
	bare bool
}

// digest is the identifier of the hash.
func (s signing) digest() pkix.AlgorithmIdentifier {
	if s.bare {
		return pkix.AlgorithmIdentifier{Algorithm: oidSHA256}
	}
	return algorithm(oidSHA256)
}

// sign returns SignedData.
func (s Signer) sign(what signing) ([]byte, error) {
	info := signerInfo{
		Version: 1, Digest: what.digest(), Algorithm: algorithm(oidRSA),
		Issuer: issuerAndSerial{asn1.RawValue{FullBytes: s.Certificate.RawIssuer}, s.Certificate.SerialNumber},
	}
	signed := what.signed
	if what.attributes {
		der, err := attributesOf(what)
		if err != nil {
			return nil, err
		}
		signed = der // with the tag of a set, and not the one that it has in its place
		var inner asn1.RawValue
		if _, err := asn1.Unmarshal(der, &inner); err != nil {
			return nil, err
		}
		info.Attributes = within(0, inner.Bytes)
	}
	hash := sha256.Sum256(signed)
	var err error
	if info.Signature, err = rsa.SignPKCS1v15(nil, s.Key, crypto.SHA256, hash[:]); err != nil {
		return nil, err
	}
	data := signedData{
		Version: 1, Digests: []pkix.AlgorithmIdentifier{what.digest()},
		Content: contentInfo{Type: what.kind}, Signers: []signerInfo{info},
	}
	if what.content != nil {
		data.Content.Content = within(0, what.content)
	}
	if what.withCertificate {
		data.Certificates = within(0, s.Certificate.Raw)
	}
	return asn1.Marshal(data)
}

// attributesOf is the set of signed attributes.
func attributesOf(what signing) ([]byte, error) {
	hash := sha256.Sum256(what.signed)
	var members [][]byte
	for _, a := range []struct {
		oid   asn1.ObjectIdentifier
		value any
	}{{oidContentType, what.kind}, {oidMessageDigest, hash[:]}} {
		value, err := asn1.Marshal(a.value)
		if err != nil {
			return nil, err
		}
		values, err := set(value)
		if err != nil {
			return nil, err
		}
		member, err := asn1.Marshal(attribute{a.oid, asn1.RawValue{FullBytes: values}})
		if err != nil {
			return nil, err
		}
		members = append(members, member)
	}
	return set(members...)
}

// wrap puts SignedData into ContentInfo (RFC 2315, 7).
func wrap(signedData []byte) ([]byte, error) {
	return asn1.Marshal(contentInfo{Type: oidSignedData, Content: within(0, signedData)})
}

// SignModule returns the signature of a kernel module, as the kernel reads it behind the module (kernel/module/signing.c and crypto/asymmetric_keys/
// pkcs7_verify.c of Linux 6.12: plain data, without attributes). It holds no certificate: the kernel has that from the firmware. It has the bytes that the
// kernel's own scripts/sign-file makes, since a kernel refuses a module whose signature it cannot read, with Secure Boot on or off.
func (s Signer) SignModule(module []byte) ([]byte, error) {
	data, err := s.sign(signing{kind: oidData, signed: module, bare: true})
	if err != nil {
		return nil, fmt.Errorf("sign module: %w", err)
	}
	if data, err = wrap(data); err != nil {
		return nil, fmt.Errorf("sign module: %w", err)
	}
	return data, nil
}

// ErrSignature says that a signature does not hold, or is none.
var ErrSignature = errors.New("the signature does not hold")
