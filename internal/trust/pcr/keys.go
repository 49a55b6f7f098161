package pcr

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"fmt"
)

// ParseKeys reads the public keys of signers, PEM blocks of the type PUBLIC KEY (RFC 5480), with nothing between them. There may be none: nothing is
// sealed for anybody then. Keys are sealed for the first; the others are those of signers before it or after it.
func ParseKeys(data []byte) ([]*ecdsa.PublicKey, error) {
	var keys []*ecdsa.PublicKey
	for rest := bytes.TrimSpace(data); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		n := len(keys) + 1
		if !bytes.HasPrefix(rest, []byte("-----BEGIN ")) {
			return nil, fmt.Errorf("read policy key %d: text outside of a PEM block", n)
		}
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "PUBLIC KEY" {
			return nil, fmt.Errorf("read policy key %d: not a PEM block of the type PUBLIC KEY", n)
		}
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read policy key %d: %w", n, err)
		}
		key, ok := parsed.(*ecdsa.PublicKey)
		if !ok {
			return nil, fmt.Errorf("read policy key %d: a key of type %T, want ECDSA", n, parsed)
		}
		if key.Curve != elliptic.P256() {
			return nil, fmt.Errorf("read policy key %d: on the curve %s, want P-256", n, key.Curve.Params().Name)
		}
		keys = append(keys, key)
	}
	return keys, nil
}
