package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestAllExtensionKeys: who signs releases may sign extensions too; a file of further keys is not needed, and one that cannot be read takes none of the
// others away.
func TestAllExtensionKeys(t *testing.T) {
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	write := func(name string, seed byte, more string) (string, ed25519.PublicKey) {
		key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize)).Public().(ed25519.PublicKey)
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, append(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), more...), 0o600); err != nil {
			t.Fatal(err)
		}
		return path, key
	}
	releases, first := write("releases", 1, "")
	extensions, second := write("extensions", 2, "")
	broken, _ := write("broken", 3, "text")
	for name, test := range map[string]struct {
		releases, extensions string
		want                 []ed25519.PublicKey
	}{
		"both":          {releases, extensions, []ed25519.PublicKey{first, second}},
		"releases only": {releases, filepath.Join(dir, "none"), []ed25519.PublicKey{first}},
		"broken":        {releases, broken, []ed25519.PublicKey{first}},
		"no releases":   {filepath.Join(dir, "none"), extensions, []ed25519.PublicKey{second}},
		"none":          {filepath.Join(dir, "none"), filepath.Join(dir, "none"), nil},
	} {
		if d := cmp.Diff(test.want, allExtensionKeys(log, test.releases, test.extensions)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}
