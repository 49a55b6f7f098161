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
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/release"
)

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestMake: the private key is the user's alone whatever the umask, the public one is what nodes read, and neither is ever overwritten.
func TestMake(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	dir := filepath.Join(t.TempDir(), "a", "keys")
	public, err := Make(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{PrivateFile: 0o600, PublicFile: 0o644} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", name, got, want)
		}
	}
	private, err := Load(filepath.Join(dir, PrivateFile))
	if err != nil || !public.Equal(private.Public()) {
		t.Errorf("the private key read again is not that of the public one: %v", err)
	}
	trusted, err := release.ParsePublicKeys(read(t, filepath.Join(dir, PublicFile)))
	if d := cmp.Diff([]ed25519.PublicKey{public}, trusted); d != "" || err != nil {
		t.Errorf("%v\n%s", err, d)
	}
	for _, name := range []string{PublicFile, PrivateFile} {
		before := read(t, filepath.Join(dir, name))
		if _, err := Make(dir); !errors.Is(err, fs.ErrExist) {
			t.Errorf("made over others: %v", err)
		}
		if !bytes.Equal(before, read(t, filepath.Join(dir, name))) {
			t.Errorf("%s was changed", name)
		}
		if err := os.Remove(filepath.Join(dir, PublicFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

func TestEnsure(t *testing.T) {
	dir := t.TempDir()
	if made, err := Ensure(dir); !made || err != nil {
		t.Fatalf("in an empty folder: made=%t, %v", made, err)
	}
	public := read(t, filepath.Join(dir, PublicFile))
	if made, err := Ensure(dir); made || err != nil {
		t.Errorf("again: made=%t, %v", made, err)
	}
	// Cut off behind the private key.
	if err := os.Remove(filepath.Join(dir, PublicFile)); err != nil {
		t.Fatal(err)
	}
	if made, err := Ensure(dir); made || err != nil {
		t.Errorf("without the public key: made=%t, %v", made, err)
	}
	if got := read(t, filepath.Join(dir, PublicFile)); !bytes.Equal(got, public) {
		t.Error("the public key is another one now")
	}
	// Who only builds images has no private key.
	if err := os.Remove(filepath.Join(dir, PrivateFile)); err != nil {
		t.Fatal(err)
	}
	if made, err := Ensure(dir); made || err != nil {
		t.Errorf("with the public key alone: made=%t, %v", made, err)
	}
	if _, err := os.Stat(filepath.Join(dir, PrivateFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a private key was made beside another's public one: %v", err)
	}
}

func TestDir(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"CYVIVE_KEYS": "here", "HOME": "/h"}, "here"},
		{map[string]string{"XDG_DATA_HOME": "/data", "HOME": "/h"}, "/data/cyvive/keys"},
		{map[string]string{"XDG_DATA_HOME": "relative", "HOME": "/h"}, "/h/.local/share/cyvive/keys"},
		{map[string]string{"HOME": "/h"}, "/h/.local/share/cyvive/keys"},
		{nil, ""},
	} {
		got, err := Dir(func(name string) string { return c.env[name] })
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%v: got %q, %v, want %q", c.env, got, err, c.want)
		}
	}
}

func TestParsePrivateRefuses(t *testing.T) {
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(other)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"nothing":      nil,
		"text":         []byte("key"),
		"public key":   pem.EncodeToMemory(&pem.Block{Type: publicType, Bytes: der}),
		"another kind": pem.EncodeToMemory(&pem.Block{Type: privateType, Bytes: der}),
		"no key":       pem.EncodeToMemory(&pem.Block{Type: privateType, Bytes: []byte("x")}),
	} {
		if _, err := ParsePrivate(text); err == nil {
			t.Errorf("%s was taken for a key", name)
		}
	}
}

func FuzzParsePrivate(f *testing.F) {
	der, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pem.EncodeToMemory(&pem.Block{Type: privateType, Bytes: der}))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := ParsePrivate(data)
		if err == nil && !ed25519.Verify(key.Public().(ed25519.PublicKey), data, ed25519.Sign(key, data)) {
			t.Error("a key whose signatures do not hold")
		}
	})
}
