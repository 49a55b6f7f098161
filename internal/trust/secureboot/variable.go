package secureboot

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unicode/utf16"
)

// Variable is one of the firmware's that say what it starts.
type Variable string

// The variables (UEFI 2.10, 32.3).
const (
	PK  Variable = "PK"  // who owns the machine: its key signs changes of itself and of KEK
	KEK Variable = "KEK" // whose keys sign changes of DB and DBX
	DB  Variable = "db"  // what is started
	DBX Variable = "dbx" // what is not, though DB has it
)

func (v Variable) vendor() GUID {
	if v == DB || v == DBX {
		return known(imageSecurity)
	}
	return known(globalVariable)
}

// EFIName is the name of its file in efivarfs (Documentation/filesystems/efivarfs.rst).
func (v Variable) EFIName() string { return string(v) + "-" + v.vendor().String() }

const (
	// attributes are non-volatile, for boot services, for what runs after them, and with a time and a signature (UEFI 2.10, 8.2.1).
	attributes = 0x01 | 0x02 | 0x04 | 0x20
	// A WIN_CERTIFICATE_UEFI_GUID (UEFI 2.10, 32.2.4).
	guidCertificateBytes = 4 + 2 + 2 + 16
	guidCertificate      = 0x0ef1
	timeBytes            = 16
)

// efiTime is EFI_TIME with the fields alone that a signature may have (UEFI 2.10, 8.2.2).
func efiTime(t time.Time) []byte {
	t = t.UTC()
	out := binary.LittleEndian.AppendUint16(nil, uint16(t.Year()))
	out = append(out, byte(t.Month()), byte(t.Day()), byte(t.Hour()), byte(t.Minute()), byte(t.Second()))
	return append(out, make([]byte, timeBytes-len(out))...)
}

// signedOf is what the signature of a variable is over.
func (v Variable) signedOf(at []byte, lists []byte) []byte {
	var out []byte
	for _, c := range utf16.Encode([]rune(string(v))) {
		out = binary.LittleEndian.AppendUint16(out, c)
	}
	vendor := v.vendor()
	out = append(out, vendor[:]...)
	out = binary.LittleEndian.AppendUint32(out, attributes)
	return append(append(out, at...), lists...)
}

// SignVariable returns what firmware takes as a variable's new value: lists, with a time and a signature. A machine without a PK takes any; later the time
// has to be past that of the value before.
func (s Signer) SignVariable(v Variable, entries []Entry, at time.Time) ([]byte, error) {
	lists, stamp := EncodeLists(entries), efiTime(at)
	// Without ContentInfo: firmware looks for the algorithm at a fixed place, and some only at that of this form.
	der, err := s.sign(signing{kind: oidData, signed: v.signedOf(stamp, lists), withCertificate: true})
	if err != nil {
		return nil, fmt.Errorf("sign variable %s: %w", v, err)
	}
	le := binary.LittleEndian
	kind := known(typePKCS7)
	out := le.AppendUint32(bytes.Clone(stamp), uint32(guidCertificateBytes+len(der)))
	out = le.AppendUint16(out, certificateRevision)
	out = le.AppendUint16(out, guidCertificate)
	out = append(out, kind[:]...)
	return append(append(out, der...), lists...), nil
}

// VerifyVariable reads what SignVariable has made, checks its signature by a certificate, and returns its entries.
func VerifyVariable(v Variable, data []byte, by *x509.Certificate) ([]Entry, error) {
	entries, signed, s, err := parseVariable(v, data)
	if err != nil {
		return nil, fmt.Errorf("read signed variable %s: %w", v, err)
	}
	signer, err := s.by(by)
	if err == nil && !signer.Equal(by) {
		err = fmt.Errorf("it is signed by %q, and not by %q", signer.Subject, by.Subject)
	}
	if err == nil {
		err = s.verify(signed, by)
	}
	if err != nil {
		return nil, fmt.Errorf("read signed variable %s: %w", v, err)
	}
	return entries, nil
}

func parseVariable(v Variable, data []byte) (entries []Entry, signed []byte, s signature, err error) {
	if len(data) < timeBytes+guidCertificateBytes {
		return nil, nil, s, fmt.Errorf("%w: it has %d bytes", ErrSignature, len(data))
	}
	le := binary.LittleEndian
	head := data[timeBytes:]
	size := le.Uint32(head)
	if le.Uint16(head[4:]) != certificateRevision || le.Uint16(head[6:]) != guidCertificate || GUID(head[8:24]) != known(typePKCS7) {
		return nil, nil, s, fmt.Errorf("%w: it is of another kind", ErrSignature)
	}
	if size < guidCertificateBytes || uint64(size) > uint64(len(head)) {
		return nil, nil, s, fmt.Errorf("%w: the signature says that it has %d bytes, of %d", ErrSignature, size, len(head))
	}
	if s, err = parseSigned(head[guidCertificateBytes:size]); err != nil {
		return nil, nil, s, err
	}
	if !s.Content.Type.Equal(oidData) || len(s.Signers[0].Attributes.FullBytes) > 0 {
		return nil, nil, s, fmt.Errorf("%w: UEFI wants one over plain data, without attributes", ErrSignature)
	}
	lists := head[size:]
	entries, err = ParseLists(lists)
	return entries, v.signedOf(data[:timeBytes], lists), s, err
}

// OwnerOf names whoever owns a platform key, in the entries of the lists: it is of the key's certificate, so that nothing has to be kept beside it.
func OwnerOf(platform *x509.Certificate) GUID {
	hash := sha256.Sum256(platform.Raw)
	var g GUID
	copy(g[:], hash[:])
	g[7] = g[7]&0x0f | 0x80 // version 8 and its variant (RFC 9562, 5.8), with the third group little-endian
	g[8] = g[8]&0x3f | 0x80
	return g
}

// Check says whether a set of three variables fits together, and lets a machine start what a certificate has signed: firmware that takes one that does
// not starts nothing any more.
func Check(variables map[Variable][]byte, platform, exchange, programs *x509.Certificate) error {
	for _, c := range []struct {
		v         Variable
		by, holds *x509.Certificate
	}{{PK, platform, platform}, {KEK, platform, exchange}, {DB, exchange, programs}} {
		entries, err := VerifyVariable(c.v, variables[c.v], c.by)
		if err != nil {
			return err
		}
		if !Database(entries).HasCertificate(c.holds) {
			return fmt.Errorf("check variable %s: %w: %q", c.v, errNoCertificate, c.holds.Subject)
		}
	}
	return nil
}

var errNoCertificate = errors.New("it does not hold the certificate")
