package keys

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/cyvive/cyvive/internal/trust/pcr"
)

func TestEnsurePolicy(t *testing.T) {
	dir := t.TempDir()
	if made, err := EnsurePolicy(dir); made || err != nil {
		t.Errorf("without a key for releases: made=%t, %v", made, err)
	}
	if _, err := Make(dir); err != nil {
		t.Fatal(err)
	}
	if made, err := EnsurePolicy(dir); !made || err != nil {
		t.Fatalf("made=%t, %v", made, err)
	}
	private, public := filepath.Join(dir, PolicyPrivateFile), filepath.Join(dir, PolicyPublicFile)
	for path, mode := range map[string]fs.FileMode{private: 0o600, public: 0o644} {
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	first, text := read(t, private), read(t, public)
	key, err := LoadPolicy(private)
	if err != nil {
		t.Fatal(err)
	}
	if keys, err := pcr.ParseKeys(text); err != nil || len(keys) != 1 || !keys[0].Equal(&key.PublicKey) {
		t.Errorf("the node reads %v, %v", keys, err)
	}
	if made, err := EnsurePolicy(dir); made || err != nil {
		t.Errorf("again: made=%t, %v", made, err)
	}
	if err := os.Remove(public); err != nil {
		t.Fatal(err)
	}
	if made, err := EnsurePolicy(dir); made || err != nil || !bytes.Equal(read(t, private), first) || !bytes.Equal(read(t, public), text) {
		t.Errorf("without its public half: made=%t, %v", made, err)
	}
	// Who has the public keys of another builds images for that other's disks.
	for _, name := range []string{private, filepath.Join(dir, PrivateFile)} {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	if made, err := EnsurePolicy(dir); made || err != nil {
		t.Errorf("public keys alone: made=%t, %v", made, err)
	}
	if err := os.Remove(public); err != nil {
		t.Fatal(err)
	}
	if made, err := EnsurePolicy(dir); made || err != nil {
		t.Errorf("another's public key for releases alone: made=%t, %v", made, err)
	}
	if _, err := os.Stat(public); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a key of one's own was made beside another's: %v", err)
	}
}

func pkcs8(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: privateType, Bytes: der})
}

func TestParsePolicyRefuses(t *testing.T) {
	other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"nothing": nil, "text": []byte("key"), "another curve": pkcs8(t, other),
		"a key for releases": pkcs8(t, ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))),
		"no key":             pem.EncodeToMemory(&pem.Block{Type: privateType, Bytes: []byte("x")}),
	} {
		if _, err := ParsePolicy(text); err == nil {
			t.Errorf("%s was taken for a key", name)
		}
	}
}

func FuzzParsePolicy(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pkcs8(f, key))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := ParsePolicy(data)
		if err != nil {
			return
		}
		s, err := pcr.Sign(pcr.Values{pcr.Kernel: {}}, key)
		if err != nil || s.Verify(&key.PublicKey) != nil {
			t.Errorf("a key whose signatures do not hold: %v", err)
		}
	})
}
