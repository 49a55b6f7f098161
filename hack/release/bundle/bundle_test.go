package bundle

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"debug/pe"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/hack/release/releasetest"
	"github.com/cyvive/cyvive/internal/release"
	"github.com/cyvive/cyvive/internal/trust/pcr"
	"github.com/cyvive/cyvive/internal/trust/secureboot"
)

// TestWrite makes a release and reads it as a node does.
func TestWrite(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	dir := releasetest.Folder(t, nil)
	path := filepath.Join(t.TempDir(), "r.cyvive")
	m, err := Write(path, dir, Keys{Release: key})
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
	if _, err := Write(path, dir, Keys{Release: key}); err != nil {
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
	if _, err := Write(path, dir, Keys{Release: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}); err == nil || !strings.Contains(err.Error(), "next") {
		t.Errorf("got %v, want an error about the version", err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestWriteSignsTheKernel: what a node gets opens its disks, and is otherwise what was built.
func TestWriteSignsTheKernel(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	policy, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	dir := releasetest.Folder(t, nil)
	path := filepath.Join(t.TempDir(), "r.cyvive")
	built, err := os.ReadFile(filepath.Join(dir, release.Kernel))
	if err != nil {
		t.Fatal(err)
	}
	var first []byte
	for range 2 {
		if _, err := Write(path, dir, Keys{Release: key, Policy: policy}); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil || first != nil && !bytes.Equal(first, data) {
			t.Errorf("the same release has other bytes: %v", err)
		}
		first = data
	}
	image := kernelOf(t, first, key)
	signatures, err := pcr.Attached(bytes.NewReader(image))
	if err != nil || len(signatures) != 1 {
		t.Fatalf("%d signatures, %v", len(signatures), err)
	}
	want, err := pcr.Predict(bytes.NewReader(built))
	if d := cmp.Diff(want, signatures[0].Values); err != nil || d != "" {
		t.Errorf("%v (-built +signed):\n%s", err, d)
	}
	if err := signatures[0].Verify(&policy.PublicKey); err != nil {
		t.Error(err)
	}
	if err := pcr.Detach(image); err != nil || !bytes.Equal(image, built) {
		t.Errorf("without the signature it is not what was built: %v", err)
	}
	if after, err := os.ReadFile(filepath.Join(dir, release.Kernel)); err != nil || !bytes.Equal(after, built) {
		t.Errorf("the folder was changed: %v", err)
	}
}

// TestWriteSignsForFirmware: the kernel image that a node gets is signed as a whole, the signed policy in it included, and opens its disks still. The manifest is
// of what is written.
func TestWriteSignsForFirmware(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	policy, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer := releasetest.SecureBoot(t, t.TempDir())
	dir := releasetest.Folder(t, nil)
	built, err := os.ReadFile(filepath.Join(dir, release.Kernel))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "r.cyvive")
	var first []byte
	for range 2 {
		if _, err := Write(path, dir, Keys{Release: key, Policy: policy, SecureBoot: signer}); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil || first != nil && !bytes.Equal(first, data) {
			t.Errorf("the same release has other bytes: %v", err)
		}
		first = data
	}
	image := kernelOf(t, first, key) // which checks it against the manifest
	if err := secureboot.VerifyProgram(bytes.NewReader(image), signer.Certificate); err != nil {
		t.Error(err)
	}
	if err := pcr.Check(bytes.NewReader(image), &policy.PublicKey); err != nil {
		t.Errorf("it does not open disks: %v", err)
	}
	want, err := pcr.Predict(bytes.NewReader(built))
	got, err2 := pcr.Predict(bytes.NewReader(image))
	if d := cmp.Diff(want, got); err != nil || err2 != nil || d != "" {
		t.Errorf("it is measured as something else: %v, %v\n%s", err, err2, d)
	}
	// Whoever takes the signed policy out, or another one in, has a program that firmware does not start.
	if err := pcr.Detach(image); err != nil {
		t.Fatal(err)
	}
	if err := secureboot.VerifyProgram(bytes.NewReader(image), signer.Certificate); !errors.Is(err, secureboot.ErrSignature) {
		t.Errorf("with another policy: %v", err)
	}
}

// kernelOf returns the kernel image in a release.
func kernelOf(t *testing.T, data []byte, key ed25519.PrivateKey) []byte {
	t.Helper()
	b, err := release.Open(bytes.NewReader(data), []ed25519.PublicKey{key.Public().(ed25519.PublicKey)})
	if err != nil {
		t.Fatal(err)
	}
	var image bytes.Buffer
	err = b.Extract(func(f release.File) (io.WriteCloser, error) {
		if f.Name == release.Kernel {
			return nopCloser{&image}, nil
		}
		return nopCloser{io.Discard}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return image.Bytes()
}

// TestWriteWithoutRoom: an image of an older builder cannot be signed, and is not passed off as one that is.
func TestWriteWithoutRoom(t *testing.T) {
	policy, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	image := releasetest.Kernel(t, pe.IMAGE_FILE_MACHINE_AMD64, ".cmdline", "roothash="+releasetest.RootHash)
	image = bytes.Replace(image, []byte(pcr.SectionName), []byte(".other\x00"), 1)
	dir := releasetest.Folder(t, map[string][]byte{release.Kernel: image})
	path := filepath.Join(t.TempDir(), "r.cyvive")
	_, err = Write(path, dir, Keys{Release: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), Policy: policy})
	if err == nil || !strings.Contains(err.Error(), "without room") {
		t.Errorf("got %v", err)
	}
}
