package secureboot

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The structures of the Authenticode format, "Authenticode-Specific Structures in PKCS #7 SignedData".
type (
	indirectData struct {
		Data   peImage
		Digest digestInfo
	}
	peImage struct {
		Type  asn1.ObjectIdentifier
		Value asn1.RawValue
	}
	digestInfo struct {
		Algorithm pkix.AlgorithmIdentifier
		Digest    []byte
	}
)

// noImageData is SpcPeImageData without anything in it: no flags, and as "file" an empty text, which is all that it is used for (obsolete in that format).
var noImageData = []byte{0x30, 0x09, 0x03, 0x01, 0x00, 0xa0, 0x04, 0xa2, 0x02, 0x80, 0x00}

// A certificate in the table of a program (PE Format, "The Attribute Certificate Table").
const (
	certificateHeaderBytes = 8
	certificateRevision    = 0x0200
	certificatePKCS        = 0x0002
)

// ErrSigned says that a program is signed already.
var ErrSigned = errors.New("it is signed already")

// SignProgram returns a signed copy of an EFI program. What was signed twice has the same bytes.
func (s Signer) SignProgram(program []byte) ([]byte, error) {
	// The certificates begin at a multiple of eight, and what is in front of them is hashed.
	out := append(bytes.Clone(program), make([]byte, -len(program)&(tableAlign-1))...)
	l, err := readLayout(bytes.NewReader(out))
	if err != nil {
		return nil, fmt.Errorf("sign EFI program: %w", err)
	}
	if l.size > 0 {
		return nil, fmt.Errorf("sign EFI program: %w", ErrSigned)
	}
	hash, err := l.hash(bytes.NewReader(out))
	if err != nil {
		return nil, fmt.Errorf("sign EFI program: %w", err)
	}
	der, err := s.authenticode(hash)
	if err != nil {
		return nil, fmt.Errorf("sign EFI program: %w", err)
	}
	size := certificateHeaderBytes + len(der)
	size += -size & (tableAlign - 1)
	le := binary.LittleEndian
	at := len(out)
	out = le.AppendUint32(out, uint32(size))
	out = le.AppendUint16(out, certificateRevision)
	out = le.AppendUint16(out, certificatePKCS)
	out = append(out, der...)
	out = append(out, make([]byte, at+size-len(out))...)
	le.PutUint32(out[l.directory:], uint32(at))
	le.PutUint32(out[l.directory+4:], uint32(size))
	// It would be another one now. No firmware checks it for a program, and zero is for none.
	clear(out[l.checksum : l.checksum+4])
	return out, nil
}

// authenticode is the signature over a program's hash.
func (s Signer) authenticode(hash [sha256.Size]byte) ([]byte, error) {
	content, err := asn1.Marshal(indirectData{
		Data:   peImage{oidPEImage, asn1.RawValue{FullBytes: noImageData}},
		Digest: digestInfo{algorithm(oidSHA256), hash[:]},
	})
	if err != nil {
		return nil, err
	}
	signed, err := value(content)
	if err != nil {
		return nil, err
	}
	data, err := s.sign(signing{kind: oidIndirectData, content: content, signed: signed, attributes: true, withCertificate: true})
	if err != nil {
		return nil, err
	}
	return wrap(data)
}

// value is what is in a piece of DER: of content that is not plain data, the outermost tag and length are not signed (RFC 2315, 9.3).
func value(der []byte) ([]byte, error) {
	var outer asn1.RawValue
	_, err := asn1.Unmarshal(der, &outer)
	return outer.Bytes, err
}

// checked is what is known of an EFI program whose signature holds, if it has one.
type checked struct {
	hash [sha256.Size]byte
	// signer is nil if there is no signature.
	signer *x509.Certificate
	others []*x509.Certificate
}

// readProgram reads an EFI program. A signature that is there has to hold.
func readProgram(r Program) (checked, error) {
	l, err := readLayout(r)
	if err != nil {
		return checked{}, err
	}
	var p checked
	if p.hash, err = l.hash(r); err != nil || l.size == 0 {
		return p, err
	}
	table := make([]byte, l.size)
	if _, err := r.ReadAt(table, l.table); err != nil && !errors.Is(err, io.EOF) {
		return p, fmt.Errorf("read signature: %w", err)
	}
	der, err := onlyCertificate(table)
	if err != nil {
		return p, err
	}
	s, err := parseWrapped(der)
	if err != nil {
		return p, err
	}
	signed, err := s.programHash(p.hash)
	if err != nil {
		return p, err
	}
	if p.signer, err = s.by(); err != nil {
		return p, err
	}
	p.others = s.certificates
	return p, s.verify(signed, p.signer)
}

// onlyCertificate returns the one signature of a table.
func onlyCertificate(table []byte) ([]byte, error) {
	if len(table) < certificateHeaderBytes {
		return nil, fmt.Errorf("read signature: %w: the table has %d bytes", ErrSignature, len(table))
	}
	le := binary.LittleEndian
	size, revision, kind := le.Uint32(table), le.Uint16(table[4:]), le.Uint16(table[6:])
	padded := (int64(size) + tableAlign - 1) / tableAlign * tableAlign
	if revision != certificateRevision || kind != certificatePKCS || size < certificateHeaderBytes || padded != int64(len(table)) {
		return nil, fmt.Errorf("read signature: %w: one of %d bytes, revision %#x and kind %d in a table of %d", ErrSignature, size, revision, kind, len(table))
	}
	return table[certificateHeaderBytes:size], nil
}

// programHash wants the signed content to name a program's hash, and returns what the signature is over.
func (s signature) programHash(want [sha256.Size]byte) ([]byte, error) {
	var content indirectData
	rest, err := asn1.Unmarshal(s.Content.Content.Bytes, &content)
	switch {
	case err != nil:
		return nil, fmt.Errorf("parse signature: %w: content: %w", ErrSignature, err)
	case len(rest) > 0 || !s.Content.Type.Equal(oidIndirectData):
		return nil, fmt.Errorf("parse signature: %w: it is over %v, with %d bytes behind it, and not over an EFI program", ErrSignature, s.Content.Type, len(rest))
	}
	if !content.Digest.Algorithm.Algorithm.Equal(oidSHA256) || !bytes.Equal(content.Digest.Digest, want[:]) {
		return nil, fmt.Errorf("verify signature: %w: it is over a program with the hash %x, and this has %x: it was changed",
			ErrSignature, content.Digest.Digest, want)
	}
	return value(s.Content.Content.Bytes)
}

// VerifyProgram checks that an EFI program is signed by the owner of a certificate, as it is.
func VerifyProgram(r Program, by *x509.Certificate) error {
	p, err := readProgram(r)
	switch {
	case err != nil:
		return err
	case p.signer == nil:
		return ErrUnsigned
	case !p.signer.Equal(by):
		return fmt.Errorf("verify EFI program: it is signed by %q, and not by %q", p.signer.Subject, by.Subject)
	}
	return nil
}

// SignerOf returns who has signed an EFI program; nil is nobody. A signature that does not hold is an error.
func SignerOf(r Program) (*x509.Certificate, error) {
	p, err := readProgram(r)
	return p.signer, err
}

// ErrUnsigned says that an EFI program has no signature.
var ErrUnsigned = errors.New("the EFI program is not signed for Secure Boot")
