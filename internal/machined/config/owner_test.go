package config

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/pki"
)

const (
	ownerPrint = "SHA256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
	goodOwner  = "apiVersion: cyvive.dev/v1alpha1\nkind: Owner\nkey: " + ownerPrint + "\n"
	badMachine = "apiVersion: cyvive.dev/v1alpha1\nkind: Machine\nhostname: Node_1\n"
)

func TestTakeOwner(t *testing.T) {
	print, err := pki.ParseFingerprint(ownerPrint)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		data, rest string
		owner      bool
	}{
		"none":            {badMachine, badMachine, false},
		"nothing":         {"", "", false},
		"alone":           {goodOwner, "", true},
		"with a marker":   {"---\n" + goodOwner + "...\n", "", true},
		"and a comment":   {goodOwner + "---\n# no more\n", "", true},
		"before":          {goodOwner + "---\n" + badMachine, "\n\n\n---\n" + badMachine, true},
		"behind":          {badMachine + "--- # its owner\n" + goodOwner, badMachine + "\n\n\n\n", true},
		"between":         {"# one\n" + badMachine + "---\r\n" + goodOwner + "---\n" + badMachine, "# one\n" + badMachine + "\n\n\n\n---\n" + badMachine, true},
		"on one line":     {"--- {apiVersion: cyvive.dev/v1alpha1, kind: Owner, key: '" + ownerPrint + "'}\n---\n" + badMachine, "\n---\n" + badMachine, true},
		"before a broken": {goodOwner + "---\nkind: [\n", "\n\n\n---\nkind: [\n", true},
		"of another's":    {"kind: Ownership\nkey: 1\n", "kind: Ownership\nkey: 1\n", false},
		"within a text":   {"apiVersion: x\nkind: Machine\nca: |\n  ---\n  kind: Owner\n", "apiVersion: x\nkind: Machine\nca: |\n  ---\n  kind: Owner\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			owner, rest, err := TakeOwner("user-data", []byte(test.data))
			if err != nil {
				t.Fatal(err)
			}
			if got := string(rest); got != test.rest || (rest == nil) != (test.rest == "" && test.data != "") {
				t.Errorf("rest: got %q, want %q", got, test.rest)
			}
			if (owner != nil) != test.owner || owner != nil && *owner != print {
				t.Errorf("owner: got %v", owner)
			}
		})
	}
}

// TestTakeOwnerMistakes: what is wrong with the document is said as of every other, and nobody is the owner then.
func TestTakeOwnerMistakes(t *testing.T) {
	for name, test := range map[string]struct{ data, want string }{
		"no key":        {"# one\n---\n" + strings.Replace(goodOwner, "key", "kee", 1), "user-data:3: Owner.key: missing, expected the fingerprint SHA256:… of the owner's public key, or that key, as `nodectl owner show` prints them\nuser-data:5: Owner.kee: unknown field, expected one of apiVersion, kind, key"},
		"no version":    {"kind: Owner\nkey: " + ownerPrint, "user-data:1: Owner.apiVersion: missing, expected cyvive.dev/v1alpha1"},
		"a wrong key":   {strings.Replace(goodOwner, "SHA256:AA", "SHA256:A", 1), `user-data:3: Owner.key: fingerprint "` + strings.Replace(ownerPrint, ":AA", ":A", 1) + `": expected SHA256: and 43 characters of base64 or 64 hexadecimal digits; expected the fingerprint`},
		"a private key": {"apiVersion: cyvive.dev/v1alpha1\nkind: Owner\nkey: |\n  -----BEGIN PRIVATE KEY-----\n  c2VjcmV0\n  -----END PRIVATE KEY-----\n", `Owner.key: read public key: the PEM block is "PRIVATE KEY", expected PUBLIC KEY`},
		"two":           {goodOwner + "---\n" + goodOwner, "user-data:4: Owner: second document of this kind, expected only the one on line 1"},
		"no YAML":       {badMachine + "---\n" + goodOwner + "x: [\n", "expected YAML"},
		"a list":        {strings.Replace(goodOwner, ownerPrint, "[1]", 1), "Owner.key: got a list, expected"},
		"UTF-16":        {string(utf16(goodOwner + "---\n" + badMachine)), ""},
	} {
		t.Run(name, func(t *testing.T) {
			owner, _, err := TakeOwner("user-data", []byte(test.data))
			if owner != nil {
				t.Errorf("the owner is %s", owner)
			}
			if test.want == "" {
				return // it is not read, and Parse says so
			}
			if _, ok := errors.AsType[Errors](err); !ok || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "c2VjcmV0") {
				t.Errorf("the mistake shows a secret: %v", err)
			}
		})
	}
}

func utf16(text string) []byte {
	out := []byte{0xff, 0xfe}
	for _, c := range []byte(text) {
		out = append(out, c, 0)
	}
	return out
}

// TestLinesStay: mistakes of the documents behind an Owner document have the lines of the file.
func TestLinesStay(t *testing.T) {
	_, rest, err := TakeOwner("user-data", []byte(goodOwner+"---\n"+badMachine))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse("user-data", rest); err == nil || !strings.Contains(err.Error(), `user-data:7: Machine.hostname: got "Node_1"`) {
		t.Errorf("got %v", err)
	}
}

// FuzzTakeOwner: the rest has all lines, holds no owner, and is what Parse finds fault with in the same way as without one.
func FuzzTakeOwner(f *testing.F) {
	f.Add([]byte(goodOwner + "---\n" + badMachine))
	f.Add([]byte("%YAML 1.2\n---\n" + goodOwner + "...\n" + badMachine))
	f.Fuzz(func(t *testing.T, data []byte) {
		owner, rest, err := TakeOwner("f", data)
		if owner != nil && err != nil {
			t.Errorf("%s is the owner, and %v", owner, err)
		}
		if rest == nil {
			return
		}
		if bytes.Count(rest, []byte("\n")) != bytes.Count(data, []byte("\n")) {
			t.Errorf("%q of %q has other lines", rest, data)
		}
		if err != nil || owner == nil {
			if err == nil && !bytes.Equal(rest, data) {
				t.Errorf("no owner was found in %q, and the rest is %q", data, rest)
			}
			return
		}
		again, same, err := TakeOwner("f", rest)
		if again != nil || err != nil || !cmp.Equal(same, rest) {
			t.Errorf("the rest of %q has %v, %v", data, again, err)
		}
	})
}
