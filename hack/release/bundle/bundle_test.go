package bundle

import (
	"bytes"
	"crypto/ed25519"
	"debug/pe"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/hack/release/releasetest"
	"github.com/cyvive/cyvive/internal/release"
)

// TestWrite makes a release and reads it as a node does.
func TestWrite(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	dir := releasetest.Folder(t, nil)
	path := filepath.Join(t.TempDir(), "r.cyvive")
	m, err := Write(path, dir, key)
	if err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := release.Open(bytes.NewReader(first), []ed25519.PublicKey{key.Public().(ed25519.PublicKey)})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(m, b.Manifest); d != "" {
		t.Errorf("manifest (-written +read):\n%s", d)
	}
	if m.Version != "0.2.0" || m.Architecture != "amd64" || m.RootHash != releasetest.RootHash || m.RootBytes != int64(len(releasetest.Root())) {
		t.Errorf("manifest is %+v", m)
	}
	got := map[string]*bytes.Buffer{}
	err = b.Extract(func(f release.File) (io.WriteCloser, error) {
		got[f.Name] = &bytes.Buffer{}
		return nopCloser{got[f.Name]}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, buffer := range got {
		want, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(buffer.Bytes(), want) {
			t.Errorf("%s is not what the folder holds: %v", name, err)
		}
	}
	if _, err := Write(path, dir, key); err != nil {
		t.Fatal(err)
	}
	if second, err := os.ReadFile(path); err != nil || !bytes.Equal(first, second) {
		t.Errorf("the same release has other bytes: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func TestDescribeRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		change map[string][]byte
		says   string
	}{
		"another description":         {map[string][]byte{"release.json": []byte("version: 0.2.0")}, "release.json"},
		"no description":              {map[string][]byte{"release.json": nil}, "release.json"},
		"no root hash":                {map[string][]byte{"roothash": nil}, "roothash"},
		"no kernel":                   {map[string][]byte{release.Kernel: nil}, release.Kernel},
		"no hash tree":                {map[string][]byte{release.Verity: nil}, release.Verity},
		"no root":                     {map[string][]byte{release.Root: nil}, release.Root},
		"kernel is no PE file":        {map[string][]byte{release.Kernel: []byte("ELF")}, release.Kernel},
		"kernel of another machine":   {map[string][]byte{release.Kernel: releasetest.Kernel(t, pe.IMAGE_FILE_MACHINE_RISCV64, ".cmdline", "")}, "neither amd64 nor arm64"},
		"kernel without command line": {map[string][]byte{release.Kernel: releasetest.Kernel(t, pe.IMAGE_FILE_MACHINE_AMD64, ".text", "")}, ".cmdline"},
		"kernel of another build": {map[string][]byte{
			release.Kernel: releasetest.Kernel(t, pe.IMAGE_FILE_MACHINE_AMD64, ".cmdline", "roothash="+strings.Repeat("d2", 32)),
		}, "another build"},
		"root is not compressed": {map[string][]byte{release.Root: releasetest.Root()}, "decompress"},
		"root is cut off":        {map[string][]byte{release.Root: cut(t)}, "decompress"},
	} {
		_, err := Describe(releasetest.Folder(t, test.change))
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: got %v, want an error with %q", name, err, test.says)
		}
	}
}

// cut is a root whose last bytes are missing.
func cut(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(releasetest.Folder(t, nil), release.Root))
	if err != nil {
		t.Fatal(err)
	}
	return data[:len(data)-3]
}

// TestWriteRefuses: what is not valid as a manifest is not signed, and no file is left.
func TestWriteRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.cyvive")
	dir := releasetest.Folder(t, map[string][]byte{"release.json": []byte(`{"version": "next"}`)})
	if _, err := Write(path, dir, ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))); err == nil || !strings.Contains(err.Error(), "next") {
		t.Errorf("got %v, want an error about the version", err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}
