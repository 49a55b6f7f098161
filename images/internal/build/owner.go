package build

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cyvive/cyvive/images/internal/tree"
)

// readOwner reads the public key of whoever may configure nodes of the image that
// have no configuration (docs/maintenance.md), as `nodectl owner show --form pem`
// prints it; nil if no file is named. Which keys are strong enough is for the node
// to say, which says it on its console; here it must be one.
func readOwner(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read owner's key: %w", err)
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != keyType || strings.TrimSpace(string(rest)) != "" {
		return nil, fmt.Errorf("read owner's key: %s: expected one public key as PEM, as `nodectl owner show --form pem` prints it", file)
	}
	if _, err := x509.ParsePKIXPublicKey(block.Bytes); err != nil {
		return nil, errors.New("read owner's key: " + file + ": what is in the PEM block is no public key")
	}
	return pem.EncodeToMemory(&pem.Block{Type: keyType, Bytes: block.Bytes}), nil
}

// addOwner places the key, if the image is to have one.
func (b *builder) addOwner(t *tree.Tree) error {
	if b.owner != nil {
		t.Write(cyviveDir+"/owner.pem", 0o644, b.owner)
	}
	return nil
}
