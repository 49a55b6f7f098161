package secureboot

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"fmt"
)

// Entry is one signature, as UEFI calls what it trusts or does not: a certificate or a hash, and who put it there.
type Entry struct {
	Type, Owner GUID
	Data        []byte
}

// CertificateEntry is the entry for a certificate.
func CertificateEntry(owner GUID, c *x509.Certificate) Entry {
	return Entry{Type: known(typeX509), Owner: owner, Data: c.Raw}
}

// listHeaderBytes are type, size of the list, size of a further header, size of each signature (UEFI 2.10, 32.4.1).
const listHeaderBytes = 16 + 4 + 4 + 4

// EncodeLists writes a list for each entry: certificates differ in size, and those of one list may not.
func EncodeLists(entries []Entry) []byte {
	var out []byte
	for _, e := range entries {
		size := uint32(len(e.Owner) + len(e.Data))
		out = append(out, e.Type[:]...)
		out = binary.LittleEndian.AppendUint32(out, listHeaderBytes+size)
		out = binary.LittleEndian.AppendUint32(out, 0)
		out = binary.LittleEndian.AppendUint32(out, size)
		out = append(out, e.Owner[:]...)
		out = append(out, e.Data...)
	}
	return out
}

// ParseLists reads signature lists, one behind the other.
func ParseLists(data []byte) ([]Entry, error) {
	var out []Entry
	for at := 0; at < len(data); {
		rest := data[at:]
		if len(rest) < listHeaderBytes {
			return nil, fmt.Errorf("parse signature lists: %d bytes at %d, a list begins with %d", len(rest), at, listHeaderBytes)
		}
		kind := GUID(rest[:16])
		size, header, each := binary.LittleEndian.Uint32(rest[16:]), binary.LittleEndian.Uint32(rest[20:]), binary.LittleEndian.Uint32(rest[24:])
		body := uint64(size) - listHeaderBytes - uint64(header)
		switch {
		case uint64(size) > uint64(len(rest)), uint64(size) < listHeaderBytes+uint64(header):
			return nil, fmt.Errorf("parse signature lists: the list at %d says that it has %d bytes, of %d", at, size, len(rest))
		case each <= 16 || body%uint64(each) != 0:
			return nil, fmt.Errorf("parse signature lists: the list at %d has %d bytes of signatures with %d each", at, body, each)
		}
		for list := rest[listHeaderBytes+header : size]; len(list) > 0; list = list[each:] {
			out = append(out, Entry{Type: kind, Owner: GUID(list[:16]), Data: bytes.Clone(list[16:each])})
		}
		at += int(size)
	}
	return out, nil
}

// Database is what firmware trusts, or distrusts: its variables db and dbx.
type Database []Entry

// Certificates are those of a database. One that cannot be read is passed over, since it starts nothing either.
func (d Database) Certificates() []*x509.Certificate {
	var out []*x509.Certificate
	for _, e := range d {
		if e.Type != known(typeX509) {
			continue
		}
		if c, err := x509.ParseCertificate(e.Data); err == nil {
			out = append(out, c)
		}
	}
	return out
}

// HasProgram tells whether a program is listed by its hash.
func (d Database) HasProgram(hash [sha256.Size]byte) bool {
	for _, e := range d {
		if e.Type == known(typeSHA256) && bytes.Equal(e.Data, hash[:]) {
			return true
		}
	}
	return false
}

// HasCertificate tells whether a certificate is listed, as a whole or by its hash.
func (d Database) HasCertificate(c *x509.Certificate) bool {
	hash := sha256.Sum256(c.RawTBSCertificate)
	for _, e := range d {
		switch {
		case e.Type == known(typeX509) && bytes.Equal(e.Data, c.Raw):
			return true
		// A time follows the hash, from which on it counts.
		case e.Type == known(typeX509SHA) && bytes.HasPrefix(e.Data, hash[:]):
			return true
		}
	}
	return false
}
