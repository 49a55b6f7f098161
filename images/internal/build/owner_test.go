package build

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/images/internal/tree"
)

// TestOwner: an image has an owner's key if one is named, and nothing else with it.
func TestOwner(t *testing.T) {
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key := publicKey(t, curve.Public())
	file := filepath.Join(t.TempDir(), "owner.pem")
	for name, c := range map[string]struct{ text, want string }{
		"a key":           {key, key},
		"words before it": {"mine\n" + key + "\n", key},
		"nothing":         {"", ""},
		"two":             {key + key, ""},
		"cut off":         {key[:60], ""},
		"a private key":   {strings.ReplaceAll(key, "PUBLIC", "PRIVATE"), ""},
		"no key":          {"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", ""},
	} {
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readOwner(file)
		if string(got) != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, c.want)
		}
	}
	if got, err := readOwner(""); got != nil || err != nil {
		t.Errorf("without a file: %q, %v", got, err)
	}
	for _, owner := range [][]byte{nil, []byte(key)} {
		root := tree.New()
		root.MkdirAll(cyviveDir)
		if err := (&builder{owner: owner}).addOwner(root); err != nil {
			t.Fatal(err)
		}
		if e := root.Get(cyviveDir + "/owner.pem"); (e != nil) != (owner != nil) {
			t.Errorf("with the key %q: %v", owner, e)
		}
	}
}
