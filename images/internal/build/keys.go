package build

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"github.com/cyvive/cyvive/images/internal/tree"
)

const keyType = "PUBLIC KEY"

// readKeys reads the Ed25519 public keys of a file as the node reads them
// (internal/release of the root module).
func readKeys(file string) ([]byte, error) {
	if file == "" {
		return nil, errors.New("read release keys: --keys names no file; a node without them takes no release (make keys makes a pair)")
	}
	out, err := readPublic(file, "Ed25519 public key", func(key any) bool {
		_, ok := key.(ed25519.PublicKey)
		return ok
	})
	if err != nil {
		return nil, fmt.Errorf("read release keys: %w", err)
	}
	return out, nil
}

// readPolicyKeys reads the public keys, ECDSA on P-256, whose signatures open
// sealed disks, as the node reads them (internal/trust/pcr of the root module).
// Without a file there are none, and nodes of the image seal nothing.
func readPolicyKeys(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	out, err := readPublic(file, "public key for ECDSA on P-256", func(key any) bool {
		k, ok := key.(*ecdsa.PublicKey)
		return ok && k.Curve == elliptic.P256()
	})
	if err != nil {
		return nil, fmt.Errorf("read policy keys: %w", err)
	}
	return out, nil
}

// readPublic reads public keys of a kind in PEM, with text for people before
// each, and returns them one block behind the other with nothing else, so that the
// same keys give the same bytes.
func readPublic(file, kind string, fits func(any) bool) ([]byte, error) {
	rest, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil || !fits(key) || block.Type != keyType {
			return nil, fmt.Errorf("%s: a block %s that is no %s", file, block.Type, kind)
		}
		if err := pem.Encode(&out, &pem.Block{Type: keyType, Bytes: block.Bytes}); err != nil {
			return nil, err
		}
	}
	if left := bytes.TrimSpace(rest); len(left) > 0 || out.Len() == 0 {
		return nil, fmt.Errorf("%s: holds no key, or ends in what is none", file)
	}
	return out.Bytes(), nil
}

// addKeys places the keys by which the node knows releases that it may take, and
// those for whom it seals the keys of its disks.
func (b *builder) addKeys(t *tree.Tree) error {
	if len(b.keys) == 0 {
		return errors.New("no release keys were read")
	}
	t.Write(cyviveDir+"/release-keys.pem", 0o644, b.keys)
	t.Write(cyviveDir+"/policy-keys.pem", 0o644, b.policyKeys)
	return nil
}
