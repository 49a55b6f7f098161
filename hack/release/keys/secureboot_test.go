package keys

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/trust/secureboot"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// secureBootDir is a folder with all keys.
func secureBootDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if made, err := EnsureSecureBoot(dir, noon); made || err != nil {
		t.Errorf("without a key for releases: made=%t, %v", made, err)
	}
	if _, err := Make(dir); err != nil {
		t.Fatal(err)
	}
	if made, err := EnsureSecureBoot(dir, noon); !made || err != nil {
		t.Fatalf("made=%t, %v", made, err)
	}
	return dir
}

// content is all of a folder.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		out[e.Name()] = string(read(t, filepath.Join(dir, e.Name())))
	}
	return out
}

func TestEnsureSecureBoot(t *testing.T) {
	dir := secureBootDir(t)
	for _, name := range []string{"PK", "KEK", "db"} {
		for end, mode := range map[string]fs.FileMode{".key": 0o600, ".crt": 0o644, ".auth": 0o644} {
			if info, err := os.Stat(filepath.Join(dir, name+end)); err != nil || info.Mode() != mode {
				t.Errorf("%s%s: %v, %v", name, end, info, err)
			}
		}
	}
	signer, err := ProgramSigner(dir)
	if err != nil {
		t.Fatal(err)
	}
	if c := signer.Certificate; c.PublicKey == nil || signer.Key.N.BitLen() != 2048 || c.SerialNumber.BitLen() != serialBits || !c.NotBefore.Equal(noon) {
		t.Errorf("the certificate is %+v", c)
	}
	if _, err := Variables(dir); err != nil {
		t.Error(err)
	}
	before := content(t, dir)
	if made, err := EnsureSecureBoot(dir, noon.Add(time.Hour)); made || err != nil {
		t.Errorf("again: made=%t, %v", made, err)
	}
	for name, text := range content(t, dir) {
		if before[name] != text {
			t.Errorf("%s was changed", name)
		}
	}
	// The keys that no release needs may lie elsewhere.
	for _, name := range []string{"PK.key", "KEK.key"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if made, err := EnsureSecureBoot(dir, noon); made || err != nil {
		t.Errorf("without two keys: made=%t, %v", made, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "PK.key")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a key was made beside its certificate: %v", err)
	}
	if err := WriteVariables(dir, noon, nil); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "PK.key") {
		t.Errorf("variables without the key: %v, want an error that names it", err)
	}
}

// TestEnsureSecureBootGoesOn: what was cut off is made whole, with the keys that are there.
func TestEnsureSecureBootGoesOn(t *testing.T) {
	dir := secureBootDir(t)
	before := content(t, dir)
	for _, name := range []string{"KEK.crt", "db.auth", "db.key", "db.crt"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	// The variables are of certificates that are gone, so all are made again with the next call.
	for _, name := range []string{"PK.auth", "KEK.auth"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if made, err := EnsureSecureBoot(dir, noon); !made || err != nil {
		t.Fatalf("made=%t, %v", made, err)
	}
	if _, err := Variables(dir); err != nil {
		t.Error(err)
	}
	after := content(t, dir)
	for _, name := range []string{"PK.key", "PK.crt", "KEK.key", PrivateFile} {
		if before[name] != after[name] {
			t.Errorf("%s was changed", name)
		}
	}
}

func TestProgramSignerRefuses(t *testing.T) {
	dir := secureBootDir(t)
	if err := os.Rename(filepath.Join(dir, "KEK.crt"), filepath.Join(dir, "db.crt")); err != nil {
		t.Fatal(err)
	}
	if _, err := ProgramSigner(dir); err == nil || !strings.Contains(err.Error(), "is not the key of the certificate") {
		t.Errorf("another's certificate: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "db.crt")); err != nil {
		t.Fatal(err)
	}
	if _, err := ProgramSigner(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no certificate: %v, want another error than for no key", err)
	}
	if err := os.Remove(filepath.Join(dir, "db.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := ProgramSigner(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no key: %v", err)
	}
}

// TestVariablesThatDoNotFit: a disk never gets variables whose firmware would not start it.
func TestVariablesThatDoNotFit(t *testing.T) {
	dir, other := secureBootDir(t), secureBootDir(t)
	for _, name := range []string{"db.auth", "KEK.auth", "PK.auth", "db.crt"} {
		kept := read(t, filepath.Join(dir, name))
		if err := os.WriteFile(filepath.Join(dir, name), read(t, filepath.Join(other, name)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Variables(dir); err == nil {
			t.Errorf("%s of another set was taken", name)
		}
		if err := os.WriteFile(filepath.Join(dir, name), kept, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Variables(dir); err != nil {
		t.Error(err)
	}
}

// TestFurtherCertificates: what else is to be trusted is behind the set's own, in db and KEK and nowhere else.
func TestFurtherCertificates(t *testing.T) {
	dir, other := secureBootDir(t), secureBootDir(t)
	further := filepath.Join(other, "db.crt")
	owner := secureboot.GUID{7}
	entries, err := Entries(further, owner)
	if err != nil || len(entries) != 1 || entries[0].Owner != owner {
		t.Fatalf("%+v, %v", entries, err)
	}
	if err := WriteVariables(dir, noon, map[secureboot.Variable][]secureboot.Entry{secureboot.DB: entries}); err != nil {
		t.Fatal(err)
	}
	variables, err := Variables(dir)
	if err != nil {
		t.Fatal(err)
	}
	for v, want := range map[secureboot.Variable]int{secureboot.PK: 1, secureboot.KEK: 1, secureboot.DB: 2} {
		by := map[secureboot.Variable]secureboot.Variable{secureboot.PK: secureboot.PK, secureboot.KEK: secureboot.PK, secureboot.DB: secureboot.KEK}[v]
		c, err := loadCertificate(dir, by)
		if err != nil {
			t.Fatal(err)
		}
		got, err := secureboot.VerifyVariable(v, variables[v], c)
		if err != nil || len(got) != want {
			t.Errorf("%s has %d entries, %v; want %d", v, len(got), err, want)
		}
	}
}

func TestParseEntries(t *testing.T) {
	dir := secureBootDir(t)
	text := read(t, filepath.Join(dir, "db.crt"))
	block, _ := pem.Decode(text)
	lists := secureboot.EncodeLists([]secureboot.Entry{{Owner: secureboot.GUID{1}, Data: []byte("a hash")}})
	for name, c := range map[string]struct {
		data []byte
		want int
	}{
		"DER": {block.Bytes, 1}, "PEM": {text, 1}, "two in PEM": {append(bytes.Clone(text), text...), 2}, "signature lists": {append(lists, lists...), 2},
		"nothing": {nil, 0}, "text": {[]byte("certificate"), 0}, "a key": {read(t, filepath.Join(dir, "db.key")), 0},
		"text behind": {append(bytes.Clone(text), "more"...), 0}, "cut off": {block.Bytes[:len(block.Bytes)-1], 0},
	} {
		got, err := ParseEntries(c.data, secureboot.GUID{})
		if len(got) != c.want || (err == nil) != (c.want > 0) {
			t.Errorf("%s: %d entries, %v; want %d", name, len(got), err, c.want)
		}
	}
}

func TestParseRSARefuses(t *testing.T) {
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"nothing": nil, "text": []byte("key"), "another kind": pkcs8(t, other),
		"no key": pem.EncodeToMemory(&pem.Block{Type: privateType, Bytes: []byte("x")}),
	} {
		if _, err := ParseRSA(text); err == nil {
			t.Errorf("%s was taken for a key", name)
		}
	}
}

func FuzzParseEntries(f *testing.F) {
	f.Add(secureboot.EncodeLists([]secureboot.Entry{{Data: []byte("a hash")}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := ParseEntries(data, secureboot.GUID{})
		if (err == nil) != (len(entries) > 0) {
			t.Errorf("%d entries, %v", len(entries), err)
		}
	})
}

func FuzzParseRSA(f *testing.F) {
	f.Add(pem.EncodeToMemory(&pem.Block{Type: privateType, Bytes: []byte("x")}))
	f.Fuzz(func(t *testing.T, data []byte) {
		if key, err := ParseRSA(data); err == nil && key.N.BitLen() < 2048 {
			t.Errorf("a key of %d bits", key.N.BitLen())
		}
	})
}
