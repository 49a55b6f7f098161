package secureboot

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"
)

// noon is the time of all certificates and variables.
var noon = time.Date(2026, 3, 1, 12, 0, 30, 0, time.UTC)

// keyOf makes a key for each name once: making one takes long. No test here runs beside another.
func keyOf(t testing.TB, name string) *rsa.PrivateKey {
	t.Helper()
	if made[name] == nil {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		made[name] = key
	}
	return made[name]
}

var made = map[string]*rsa.PrivateKey{}

// newSigner makes a key with a certificate of its own, or one that another has signed.
func newSigner(t testing.TB, name string, by *Signer) Signer {
	t.Helper()
	key := keyOf(t, name)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(int64(len(name)) << 40), Subject: pkix.Name{CommonName: name},
		NotBefore: noon, NotAfter: noon.AddDate(1, 0, 0), BasicConstraintsValid: true, IsCA: by == nil,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, SubjectKeyId: []byte(name),
	}
	parent, parentKey := template, key
	if by != nil {
		parent, parentKey = by.Certificate, by.Key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return Signer{Certificate: c, Key: key}
}

// headerBytes are those of every program of these tests.
const headerBytes = 0x200

// program makes an EFI program with a section for each text, and what may lie behind them.
func program(texts []string, behind string) []byte {
	le := binary.LittleEndian
	const at, optionalBytes = 0x40, 112 + 16*8
	out := make([]byte, headerBytes)
	copy(out, "MZ")
	le.PutUint32(out[0x3c:], at)
	copy(out[at:], "PE\x00\x00")
	le.PutUint16(out[at+4:], 0x8664)
	le.PutUint16(out[at+6:], uint16(len(texts)))
	le.PutUint16(out[at+20:], optionalBytes)
	optional := out[at+24:]
	le.PutUint16(optional, 0x20b)
	le.PutUint32(optional[60:], headerBytes)
	le.PutUint32(optional[64:], 0xc4ec) // a checksum
	le.PutUint32(optional[108:], 16)
	for i, text := range texts {
		header := out[at+24+optionalBytes+40*i:]
		copy(header, "."+text)
		le.PutUint32(header[8:], uint32(len(text)))
		le.PutUint32(header[16:], uint32(len(text)))
		le.PutUint32(header[20:], uint32(len(out)))
		out = append(out, text...)
	}
	return append(out, behind...)
}

// loader is a program of an odd size, with something behind its sections.
func loader() []byte { return program([]string{"text of it", "data", ""}, "odd") }

// efivars are the firmware's variables as efivarfs has them.
func efivars(on byte, db, dbx []Entry) fstest.MapFS {
	head := []byte{0x27, 0, 0, 0}
	return fstest.MapFS{
		"SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c": {Data: []byte{6, 0, 0, 0, on}},
		"db-d719b2cb-3d3a-4596-a3bc-dad00e67656f":         {Data: append(bytes.Clone(head), EncodeLists(db)...)},
		"dbx-d719b2cb-3d3a-4596-a3bc-dad00e67656f":        {Data: append(bytes.Clone(head), EncodeLists(dbx)...)},
	}
}

// tool finds a program of others that checks signatures.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("REQUIRE_VM") == "1" || os.Getenv("REQUIRE_ROOT") == "1" {
			t.Fatalf("the environment promised %s: %v", name, err)
		}
		t.Skipf("needs %s (make setup): %v", name, err)
	}
	return path
}

// run runs a program over files of a new folder, and returns what it said. Certificates are put there in PEM.
func run(t *testing.T, program string, files map[string][]byte, args ...string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		if filepath.Ext(name) == ".pem" {
			data = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: data})
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}
