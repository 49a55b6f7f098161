// Package keys keeps the key pairs that sign a developer's releases: one for the releases, which nodes take by it, one for what the TPM of a node
// opens disks by (internal/trust/pcr), and three for what firmware starts (internal/trust/secureboot). They lie in a folder of the user's and not in the
// repository: a key in a commit is no secret, and one that `make clean` removes leaves nodes that take no release any more, disks that only a recovery
// key opens, or machines that start nothing new.
package keys

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Files of a pair.
const (
	// PrivateFile is PKCS #8 (RFC 5958, RFC 8410) in PEM, mode 0600.
	PrivateFile = "release.key"
	// PublicFile is what package release reads as public keys, and images hold. Keys that are to be trusted besides may be put behind the first.
	PublicFile = "release.pem"
)

const (
	privateType = "PRIVATE KEY"
	publicType  = "PUBLIC KEY"
)

// Dir is $CYVIVE_KEYS or, where that is not set, a folder of the user's data ($XDG_DATA_HOME, XDG Base Directory Specification 0.8).
func Dir(getenv func(string) string) (string, error) {
	if dir := getenv("CYVIVE_KEYS"); dir != "" {
		return dir, nil
	}
	if data := getenv("XDG_DATA_HOME"); filepath.IsAbs(data) {
		return filepath.Join(data, "cyvive", "keys"), nil
	}
	home := getenv("HOME")
	if home == "" {
		return "", errors.New("find folder of keys: none of CYVIVE_KEYS, XDG_DATA_HOME and HOME is set")
	}
	return filepath.Join(home, ".local", "share", "cyvive", "keys"), nil
}

// Make makes a pair in a folder, which it makes too. Where one of its files is there already the error is fs.ErrExist, and nothing is changed.
func Make(dir string) (ed25519.PublicKey, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make release key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("make release key: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make release key: %w", err)
	}
	for _, name := range []string{PrivateFile, PublicFile} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("make release key: %s: %w; nodes may trust it, so remove it by hand if it is to go", filepath.Join(dir, name), fs.ErrExist)
		}
	}
	if err := create(filepath.Join(dir, PrivateFile), 0o600, pem.EncodeToMemory(&pem.Block{Type: privateType, Bytes: der})); err != nil {
		return nil, fmt.Errorf("make release key: %w", err)
	}
	return public, writePublic(dir, public)
}

func writePublic(dir string, key ed25519.PublicKey) error {
	if err := createPublic(filepath.Join(dir, PublicFile), key); err != nil {
		return fmt.Errorf("write public release key: %w", err)
	}
	return nil
}

// createPublic writes a new file with a public key of any kind.
func createPublic(path string, key any) error {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return err
	}
	return create(path, 0o644, pem.EncodeToMemory(&pem.Block{Type: publicType, Bytes: der}))
}

// create writes a new file, on the disk when it returns; one that is there already is an error. The mode does not depend on the umask.
func create(path string, mode fs.FileMode, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
}

// Ensure makes a pair unless there are public keys, and tells whether it did. Public keys alone are enough to build images; a private key whose
// public one is missing, because something was cut off, gets it again.
func Ensure(dir string) (made bool, err error) {
	if _, err := os.Stat(filepath.Join(dir, PublicFile)); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	private, err := Load(filepath.Join(dir, PrivateFile))
	switch {
	case err == nil:
		return false, writePublic(dir, private.Public().(ed25519.PublicKey))
	case !errors.Is(err, fs.ErrNotExist):
		return false, err
	}
	_, err = Make(dir)
	return err == nil, err
}

// Load reads a private key.
func Load(path string) (ed25519.PrivateKey, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read release key: %w", err)
	}
	key, err := ParsePrivate(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// ParsePrivate reads what Make has written. Errors name nothing of the key.
func ParsePrivate(data []byte) (ed25519.PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != privateType {
		return nil, fmt.Errorf("read release key: no PEM block of the type %s", privateType)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("read release key: not in the form of PKCS #8")
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("read release key: a key of type %T, want Ed25519", parsed)
	}
	return key, nil
}
