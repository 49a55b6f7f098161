package keys

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Files of the pair that signs policies. It is ECDSA on P-256, since TPMs do not know Ed25519.
const (
	// PolicyPrivateFile is PKCS #8 in PEM, mode 0600.
	PolicyPrivateFile = "policy.key"
	// PolicyPublicFile is what pcr.ParseKeys reads, and images hold. Nodes seal for its first key.
	PolicyPublicFile = "policy.pem"
)

// EnsurePolicy makes the pair that signs policies unless its public key is there, and tells whether it did. In a folder with the public half alone of
// the pair for releases it makes none: whoever signs the releases signs the policies, and disks that are sealed for another would not open.
func EnsurePolicy(dir string) (made bool, err error) {
	if _, err := os.Stat(filepath.Join(dir, PolicyPublicFile)); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	private, err := LoadPolicy(filepath.Join(dir, PolicyPrivateFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat(filepath.Join(dir, PrivateFile)); errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if private, err = makePolicy(filepath.Join(dir, PolicyPrivateFile)); err != nil {
			return false, fmt.Errorf("make policy key: %w", err)
		}
		made = true
	case err != nil:
		return false, err
	}
	if err := createPublic(filepath.Join(dir, PolicyPublicFile), &private.PublicKey); err != nil {
		return made, fmt.Errorf("write public policy key: %w", err)
	}
	return made, nil
}

func makePolicy(path string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, create(path, 0o600, pem.EncodeToMemory(&pem.Block{Type: privateType, Bytes: der}))
}

// LoadPolicy reads a private key.
func LoadPolicy(path string) (*ecdsa.PrivateKey, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read policy key: %w", err)
	}
	key, err := ParsePolicy(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// ParsePolicy reads what EnsurePolicy has written. Errors name nothing of the key.
func ParsePolicy(data []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != privateType {
		return nil, fmt.Errorf("read policy key: no PEM block of the type %s", privateType)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("read policy key: not in the form of PKCS #8")
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("read policy key: a key of type %T, want ECDSA on P-256", parsed)
	}
	return key, nil
}
