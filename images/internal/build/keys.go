package build

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"github.com/cyvive/cyvive/images/internal/tree"
)

const keyType = "PUBLIC KEY"

// readKeys reads Ed25519 public keys in PEM, with text for people before each,
// and returns them as the node reads them (internal/release of the root module):
// one block behind the other and nothing else, so that the same keys give the
// same bytes.
func readKeys(file string) ([]byte, error) {
	if file == "" {
		return nil, errors.New("read release keys: --keys names no file; a node without them takes no release (make keys makes a pair)")
	}
	rest, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read release keys: %w", err)
	}
	var out bytes.Buffer
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if _, ok := key.(ed25519.PublicKey); err != nil || !ok || block.Type != keyType {
			return nil, fmt.Errorf("read release keys: %s: a block %s that is no Ed25519 public key", file, block.Type)
		}
		if err := pem.Encode(&out, &pem.Block{Type: keyType, Bytes: block.Bytes}); err != nil {
			return nil, fmt.Errorf("read release keys: %w", err)
		}
	}
	if left := bytes.TrimSpace(rest); len(left) > 0 || out.Len() == 0 {
		return nil, fmt.Errorf("read release keys: %s: holds no key, or ends in what is none", file)
	}
	return out.Bytes(), nil
}

// addKeys places the keys by which the node knows releases that it may take.
func (b *builder) addKeys(t *tree.Tree) error {
	if len(b.keys) == 0 {
		return errors.New("no release keys were read")
	}
	t.Write(cyviveDir+"/release-keys.pem", 0o644, b.keys)
	return nil
}
