package secureboot

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
)

// hashAsFirmware hashes a program as edk2's firmware does (HashPeImage of SecurityPkg/Library/DxeImageVerificationLib): headers without the two places,
// the sections by their place in the file, and what is behind them in front of the certificates. It shares nothing with the code under test.
func hashAsFirmware(t *testing.T, file []byte) [32]byte {
	t.Helper()
	le := binary.LittleEndian
	pe := int(le.Uint32(file[0x3c:]))
	optional := pe + 24
	headers := int(le.Uint32(file[optional+60:]))
	directory := optional + 112 + 4*8
	certificates := int(le.Uint32(file[directory+4:]))
	sum := sha256.New()
	sum.Write(file[:optional+64])
	sum.Write(file[optional+68 : directory])
	sum.Write(file[directory+8 : headers])
	hashed := headers
	type section struct{ at, size int }
	var sections []section
	table := optional + int(le.Uint16(file[pe+20:]))
	for i := range int(le.Uint16(file[pe+6:])) {
		h := file[table+40*i:]
		sections = append(sections, section{int(le.Uint32(h[20:])), int(le.Uint32(h[16:]))})
	}
	slices.SortFunc(sections, func(a, b section) int { return a.at - b.at })
	for _, s := range sections {
		sum.Write(file[s.at : s.at+s.size])
		hashed += s.size
	}
	sum.Write(file[hashed : len(file)-certificates])
	return [32]byte(sum.Sum(nil))
}

func TestSignProgram(t *testing.T) {
	signer := newSigner(t, "db", nil)
	for name, plain := range map[string][]byte{
		"odd size": loader(), "nothing behind": program([]string{"a section", "b"}, ""), "aligned": program([]string{"12345678"}, ""),
	} {
		signed, err := signer.SignProgram(plain)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		again, err := signer.SignProgram(plain)
		if err != nil || !bytes.Equal(signed, again) {
			t.Errorf("%s: signed twice it has other bytes: %v", name, err)
		}
		checkOnlySigned(t, name, plain, signed)
		checkSignature(t, name, signed, &signer.Key.PublicKey)
		if err := VerifyProgram(bytes.NewReader(signed), signer.Certificate); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := signer.SignProgram(signed); !errors.Is(err, ErrSigned) {
			t.Errorf("%s: signed over another signature: %v", name, err)
		}
		if by, err := SignerOf(bytes.NewReader(signed)); err != nil || !by.Equal(signer.Certificate) {
			t.Errorf("%s: signed by %v, %v", name, by, err)
		}
		if by, err := SignerOf(bytes.NewReader(plain)); err != nil || by != nil {
			t.Errorf("%s: not signed, and by %v, %v", name, by, err)
		}
		if err := VerifyProgram(bytes.NewReader(plain), signer.Certificate); !errors.Is(err, ErrUnsigned) {
			t.Errorf("%s: not signed: %v", name, err)
		}
	}
}

// checkOnlySigned: a signed program is the program, but for the checksum, the place of the certificates, and what is behind it.
func checkOnlySigned(t *testing.T, name string, plain, signed []byte) {
	t.Helper()
	le := binary.LittleEndian
	optional := 0x40 + 24
	directory := optional + 112 + 32
	at, size := int(le.Uint32(signed[directory:])), int(le.Uint32(signed[directory+4:]))
	if at%8 != 0 || at < len(plain) || at-len(plain) > 7 || at+size != len(signed) || size%8 != 0 {
		t.Fatalf("%s: %d bytes of certificates at %d, of %d; the program has %d", name, size, at, len(signed), len(plain))
	}
	without := bytes.Clone(signed[:len(plain)])
	copy(without[optional+64:], plain[optional+64:optional+68])
	clear(without[directory : directory+8])
	if !bytes.Equal(without, plain) || len(bytes.Trim(signed[len(plain):at], "\x00")) > 0 {
		t.Errorf("%s: without its signature it is another program", name)
	}
}

// checkSignature reads the signature as firmware does, by places in the file, and checks it with the key alone.
func checkSignature(t *testing.T, name string, signed []byte, key *rsa.PublicKey) {
	t.Helper()
	le := binary.LittleEndian
	table := signed[le.Uint32(signed[0x40+24+112+32:]):]
	if int(le.Uint32(table)) != len(table) || le.Uint16(table[4:]) != 0x0200 || le.Uint16(table[6:]) != 0x0002 {
		t.Fatalf("%s: the certificate begins with % x, and has %d bytes", name, table[:8], len(table))
	}
	der := table[8:]
	// DxeImageVerificationLib of edk2: the length in two bytes, and the algorithm's identifier at 32.
	if der[0] != 0x30 || der[1] != 0x82 || !bytes.HasPrefix(der[32:], []byte{0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01}) {
		t.Errorf("%s: firmware does not find SHA-256 in % x", name, der[:48])
	}
	// AuthenticodeVerify of CryptoPkg: the hash ends the content that is signed.
	hash := hashAsFirmware(t, signed)
	content := bytes.Index(der, []byte{0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x01, 0x0f}) - 4 // within two sequences
	length := int(der[content-1])
	value := der[content : content+length]
	if !bytes.HasSuffix(value, hash[:]) {
		t.Fatalf("%s: the signed content is % x, want the hash % x at its end", name, value, hash)
	}
	// The attributes, as a set, are what is signed; one is the hash of the content.
	digest := sha256.Sum256(value)
	attributes := bytes.Index(der, append([]byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04, 0x31, 0x22, 0x04, 0x20}, digest[:]...))
	if attributes < 0 {
		t.Fatalf("%s: no attribute has the hash of the content", name)
	}
	start := bytes.LastIndexByte(der[:attributes-2], 0xa0)
	for start > 0 && int(der[start+1])+start+2 < attributes {
		start = bytes.LastIndexByte(der[:start], 0xa0)
	}
	set := bytes.Clone(der[start : start+2+int(der[start+1])])
	set[0] = 0x31
	sum := sha256.Sum256(set)
	end := bytes.LastIndex(der, []byte{0x04, 0x82, 0x01, 0x00})
	signature := der[end+4 : end+4+256]
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature); err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

// TestOthersVerifyPrograms has a program of others check a signature.
func TestOthersVerifyPrograms(t *testing.T) {
	osslsigncode := tool(t, "osslsigncode")
	signer, other := newSigner(t, "db", nil), newSigner(t, "another", nil)
	signed, err := signer.SignProgram(loader())
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Clone(signed)
	changed[headerBytes+2] ^= 1
	for name, c := range map[string]struct {
		file []byte
		by   Signer
		good bool
	}{"signed": {signed, signer, true}, "changed": {changed, signer, false}, "another's": {signed, other, false}} {
		words, err := run(t, osslsigncode, map[string][]byte{"file.efi": c.file, "ca.pem": c.by.Certificate.Raw}, "verify", "-CAfile", "ca.pem", "-in", "file.efi")
		if (err == nil) != c.good {
			t.Errorf("%s: %v\n%s", name, err, words)
		}
	}
}

// TestEveryByteIsSigned changes each byte of a program: none that is hashed can be changed unnoticed.
func TestEveryByteIsSigned(t *testing.T) {
	signer := newSigner(t, "db", nil)
	signed, err := signer.SignProgram(loader())
	if err != nil {
		t.Fatal(err)
	}
	optional := 0x40 + 24
	table := int(binary.LittleEndian.Uint32(signed[optional+112+32:]))
	for i := range table {
		changed := bytes.Clone(signed)
		changed[i] ^= 0x10
		err := VerifyProgram(bytes.NewReader(changed), signer.Certificate)
		if inChecksum := i >= optional+64 && i < optional+68; inChecksum != (err == nil) {
			t.Errorf("byte %#x was changed: %v", i, err)
		}
	}
}

func TestLayoutRefuses(t *testing.T) {
	le := binary.LittleEndian
	const optional = 0x40 + 24
	for name, c := range map[string]struct {
		change func([]byte) []byte
		says   string
	}{
		"no program":        {func([]byte) []byte { return []byte("MZ") }, "form"},
		"32 bits":           {func(b []byte) []byte { le.PutUint16(b[optional:], 0x10b); return b }, "form"},
		"no directory":      {func(b []byte) []byte { le.PutUint32(b[optional+108:], 4); return b }, "form"},
		"headers too small": {func(b []byte) []byte { le.PutUint32(b[optional+60:], 0x40); return b }, "headers"},
		"headers too large": {func(b []byte) []byte { le.PutUint32(b[optional+60:], 1<<20); return b }, "headers"},
		"gap between":       {func(b []byte) []byte { le.PutUint32(b[optional+112+16*8+20:], headerBytes+1); return b }, "begins at"},
		"end cut off":       {func(b []byte) []byte { return b[:len(b)-8] }, "sections end"},
		"certificates within": {func(b []byte) []byte {
			le.PutUint32(b[optional+112+32:], headerBytes)
			le.PutUint32(b[optional+112+36:], 8)
			return b
		}, "certificates"},
	} {
		file := c.change(loader())
		if _, err := HashProgram(bytes.NewReader(file)); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %q", name, err, c.says)
		}
	}
}

// TestHashProgram: a program has the same hash before and after it is signed, if its size is a multiple of eight, and the one that firmware sees.
func TestHashProgram(t *testing.T) {
	signer := newSigner(t, "db", nil)
	plain := program([]string{"12345678"}, "12345678")
	signed, err := signer.SignProgram(plain)
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string][]byte{"plain": plain, "signed": signed} {
		if got, err := HashProgram(bytes.NewReader(file)); err != nil || got != hashAsFirmware(t, plain) {
			t.Errorf("%s: %x, %v; want %x", name, got, err, hashAsFirmware(t, plain))
		}
	}
}
