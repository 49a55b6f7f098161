package passphrase

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/argon2"

	"github.com/cyvive/cyvive/internal/trust/wrap"
)

const (
	machine = "0a1b2c3d-1111-2222-3333-444455556666"
	good    = "correct horse battery staple"
)

func key() []byte { return bytes.Repeat([]byte{5}, wrap.SecretBytes) }

func binding() wrap.Binding {
	return wrap.Binding{Keyslot: 1, Volume: "state", UUID: "11111111-2222-3333-4444-555555555555", Machine: machine}
}

// TestToken: the passphrase opens the key as the header keeps it; another one, another machine's, or a changed header does not.
func TestToken(t *testing.T) {
	want, err := Seal(good, binding(), key())
	if err != nil {
		t.Fatal(err)
	}
	text, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte(good)) || bytes.Contains(text, []byte("horse")) {
		t.Error("the passphrase is in the header")
	}
	got, err := ParseToken(text)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("token (-encoded +parsed):\n%s", d)
	}
	if out, err := got.Open(good); err != nil || !bytes.Equal(out, key()) {
		t.Errorf("opened %x, %v", out, err)
	}
	moved, salted, changed := got, got, got
	moved.Machine = strings.Replace(machine, "1", "2", 1)
	salted.Salt, changed.Wrapped = bytes.Clone(got.Salt), bytes.Clone(got.Wrapped)
	salted.Salt[0] ^= 1
	changed.Wrapped[40] ^= 1
	for name, c := range map[string]struct {
		token Token
		text  string
		want  error
	}{
		"another passphrase": {got, good + " ", ErrWrong}, "another machine": {moved, good, ErrWrong}, "another salt": {salted, good, ErrWrong},
		"a changed key": {changed, good, ErrWrong}, "none": {got, "", ErrNone},
	} {
		if out, err := c.token.Open(c.text); !errors.Is(err, c.want) || out != nil || strings.Contains(err.Error(), "horse") {
			t.Errorf("%s: %x, %v", name, out, err)
		}
	}
	if _, err := got.Open(strings.Repeat("x", MaxBytes+1)); err == nil || errors.Is(err, ErrWrong) {
		t.Errorf("a long one: %v", err)
	}
}

// TestCost holds the way of version 1 against RFC 9106 and RFC 5869, written out: a disk that one release has made is opened by every later one.
func TestCost(t *testing.T) {
	salt := bytes.Repeat([]byte{9}, 32)
	secret := argon2.IDKey([]byte(good), salt, 3, 65536, 4, 32)
	wrapped, err := wrap.Wrap(secret, salt, "cyvive-passphrase\x00state\x00"+machine, key())
	if err != nil {
		t.Fatal(err)
	}
	if out, err := (Token{Binding: binding(), Salt: salt, Wrapped: wrapped}).Open(good); err != nil || !bytes.Equal(out, key()) {
		t.Errorf("opened %x, %v", out, err)
	}
}

const tokenExample = `{"type":"cyvive-passphrase","keyslots":["1"],"version":1,"volume":"state","uuid":"11111111-2222-3333-4444-555555555555",` +
	`"machine":"0a1b2c3d-1111-2222-3333-444455556666","salt":"CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=",` +
	`"wrapped":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH"}`

func TestParseTokenRefuses(t *testing.T) {
	if _, err := ParseToken([]byte(tokenExample)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ old, new, says string }{
		"another type":     {`"cyvive-passphrase"`, `"cyvive-kms"`, "expected cyvive-passphrase"},
		"a later version":  {`"version":1`, `"version":2`, "version 2, expected 1"},
		"an unknown field": {`"version":1`, `"version":1,"passes":1`, "passes"},
		"a short salt":     {`"salt":"CQkJ`, `"salt":"`, "29 and 60 bytes"},
		"no key":           {`"wrapped":"`, `"wrapped":"","x":"`, "unknown field"},
		"too long":         {`"uuid":"`, `"uuid":"` + strings.Repeat("1", maxTokenBytes), "at most"},
	} {
		text := strings.Replace(tokenExample, c.old, c.new, 1)
		if text == tokenExample {
			t.Fatalf("%s: %q is not in the token", name, c.old)
		}
		if _, err := ParseToken([]byte(text)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %q in it", name, err, c.says)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add([]byte(tokenExample))
	f.Fuzz(func(t *testing.T, data []byte) {
		token, err := ParseToken(data)
		if err != nil {
			return
		}
		text, err := token.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseToken(text)
		if d := cmp.Diff(token, again); err != nil || d != "" {
			t.Errorf("%v (-parsed +again):\n%s", err, d)
		}
	})
}
