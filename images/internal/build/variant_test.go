package build

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/images/internal/tree"
)

func TestVersions(t *testing.T) {
	for name, c := range map[string]struct {
		version, floor, given string
		want, says            string
	}{
		"of the file":         {"1.2.0", "1.0.0", "", "1.2.0", ""},
		"given":               {"1.2.0", "1.0.0", "1.3.0-rc.1", "1.3.0-rc.1", ""},
		"the floor itself":    {"1.2.0", "1.2.0", "", "1.2.0", ""},
		"below its own floor": {"1.2.0", "1.2.0", "1.1.9", "", "older than 1.2.0"},
		"no version":          {"next", "1.0.0", "", "", "next"},
		"no floor":            {"1.2.0", "", "", "", "1.2.3"},
		"given with a v":      {"1.2.0", "1.0.0", "v1.3.0", "", "v1.3.0"},
	} {
		dir := t.TempDir()
		for file, text := range map[string]string{"VERSION": c.version, "FLOOR": c.floor} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, floor, err := versions(Options{Images: dir, Variant: Variant{Version: c.given}})
		if got != c.want || c.says == "" && (err != nil || floor != c.floor) || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: got %q, %q, %v; want %q %q", name, got, floor, err, c.want, c.says)
		}
	}
}

// TestChange makes the root of a bad release. What a test asks for and is not
// there must be an error.
func TestChange(t *testing.T) {
	root := func() *tree.Tree {
		x := tree.New()
		x.Write("/usr/bin/init", 0o755, []byte("init"))
		x.Write("/usr/bin/kubernetes", 0o755, []byte("kubernetes"))
		if err := x.Hardlink("/usr/bin/kubelet", "/usr/bin/kubernetes"); err != nil {
			t.Fatal(err)
		}
		return x
	}
	file := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(file, []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	x := root()
	if err := (Variant{Drop: []string{"/usr/bin/kubelet"}, Put: map[string]string{"/usr/bin/init": file}}).change(x); err != nil {
		t.Fatal(err)
	}
	if got := x.Get("/usr/bin/kubelet"); got != nil {
		t.Errorf("kubelet is still there: %+v", got)
	}
	content, err := x.Get("/usr/bin/init").Content()
	if string(content) != "other" || err != nil || x.Get("/usr/bin/init").Mode != 0o755 {
		t.Errorf("init is %q, mode %o, %v", content, x.Get("/usr/bin/init").Mode, err)
	}
	for name, v := range map[string]Variant{
		"drop what is not there":    {Drop: []string{"/usr/bin/sh"}},
		"drop a directory":          {Drop: []string{"/usr/bin"}},
		"drop what has other names": {Drop: []string{"/usr/bin/kubernetes"}},
		"put where nothing is":      {Put: map[string]string{"/usr/bin/sh": file}},
		"put what is not there":     {Put: map[string]string{"/usr/bin/init": file + ".no"}},
	} {
		if err := v.change(root()); err == nil {
			t.Errorf("%s: want an error", name)
		}
	}
	x = root()
	before := x.Paths()
	if err := (Variant{}).change(x); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, x.Paths()); d != "" {
		t.Errorf("no variant changes the root:\n%s", d)
	}
}

func TestFlags(t *testing.T) {
	v := Variant{Version: "1.0.0", Append: "a='b' c", Drop: []string{"/x", "/y"}, Put: map[string]string{"/b": "2", "/a": "1"}, Aside: "/dir"}
	want := `--version '1.0.0' --append 'a='\''b'\'' c' --drop '/x' --drop '/y' --put '/a=1' --put '/b=2' --aside '/dir'`
	if got := strings.Join(v.flags(), " "); got != want {
		t.Errorf("flags are\n%s, want\n%s", got, want)
	}
	if got := (Variant{}).flags(); got != nil {
		t.Errorf("no variant has the flags %q", got)
	}
}

func TestCmdline(t *testing.T) {
	b := &builder{}
	b.results.rootHash = "hash"
	if got := b.cmdline(); !strings.HasPrefix(got, "roothash=hash ") || strings.HasSuffix(got, " ") {
		t.Errorf("command line is %q", got)
	}
	if !slices.Contains(strings.Fields(b.cmdline()), "gpt") {
		t.Error("the kernel would not read the copy of a damaged partition table")
	}
	b.Append = "panic_on_taint=0x1000"
	if got := b.cmdline(); !strings.HasSuffix(got, " panic_on_taint=0x1000") {
		t.Errorf("command line is %q", got)
	}
}

func publicKey(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: keyType, Bytes: der}))
}

// TestReadKeys: whatever a person wrote around them, the image gets the keys and
// nothing else.
func TestReadKeys(t *testing.T) {
	one := publicKey(t, ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)).Public())
	two := publicKey(t, ed25519.NewKeyFromSeed([]byte(strings.Repeat("2", ed25519.SeedSize))).Public())
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "keys.pem")
	for name, c := range map[string]struct{ text, want string }{
		"one":             {one, one},
		"two, with words": {"the old one\n" + one + "\nthe new one\n" + two + "\n\n", one + two},
		"none":            {"", ""},
		"words only":      {"no key", ""},
		"words behind":    {one + "no key", ""},
		"cut off":         {one + two[:40], ""},
		"another kind":    {publicKey(t, curve.Public()), ""},
		"another block":   {strings.ReplaceAll(one, "PUBLIC", "PRIVATE"), ""},
	} {
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readKeys(file)
		if string(got) != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, c.want)
		}
	}
}

// TestReadPolicyKeys: keys of the other kind, or none at all.
func TestReadPolicyKeys(t *testing.T) {
	key := func(curve elliptic.Curve) string {
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return publicKey(t, k.Public())
	}
	one, two := key(elliptic.P256()), key(elliptic.P256())
	file := filepath.Join(t.TempDir(), "keys.pem")
	for name, c := range map[string]struct{ text, want string }{
		"two, with words": {"ours\n" + one + "\n" + two, one + two},
		"none":            {"", ""},
		"another curve":   {key(elliptic.P384()), ""},
		"for releases":    {publicKey(t, ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)).Public()), ""},
	} {
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readPolicyKeys(file)
		if string(got) != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, c.want)
		}
	}
	if got, err := readPolicyKeys(""); len(got) != 0 || err != nil {
		t.Errorf("no file: %q, %v", got, err)
	}
}
