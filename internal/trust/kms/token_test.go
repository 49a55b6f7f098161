package kms_test

import (
	"encoding/base64"
	pemfile "encoding/pem"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/trust/kms"
	"github.com/cyvive/cyvive/internal/trust/kmstest"
)

func pem(der []byte) string {
	return string(pemfile.EncodeToMemory(&pemfile.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestToken(t *testing.T) {
	want := seal(t, kmstest.New(t, nil))
	want.Keyslot = 3
	text, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := kms.ParseToken(text)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("token (-encoded +parsed):\n%s", d)
	}
	if len(text) > 3000 {
		t.Errorf("the token takes %d bytes of a header's 12288", len(text))
	}
	want.Server.CA = strings.Repeat(want.Server.CA, 20)
	if _, err := want.Encode(); err == nil || !strings.Contains(err.Error(), "room for") {
		t.Errorf("with many authorities: %v", err)
	}
	hidden := kms.Server{Endpoint: "https://a", Key: "hunter2"}
	if shown := fmt.Sprintf("%v %+v %#v %s %q", hidden, hidden, hidden, hidden, hidden); strings.Contains(shown, "hunter2") {
		t.Errorf("the key shows in %q", shown)
	}
}

func filled(b byte, n int) string {
	return base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(rune(b)), n)))
}

// tokenExample is a token of no server.
func tokenExample() string {
	return `{"type":"cyvive-kms","keyslots":["0"],"version":1,"volume":"state","uuid":"11111111-2222-3333-4444-555555555555",` +
		`"machine":"` + machine + `","endpoint":"https://kms.example:4050","ca":"PEM","sealed":"` + filled(1, 60) + `","half":"` + filled(2, 32) +
		`","wrapped":"` + filled(3, 60) + `"}`
}

func TestParseTokenRefuses(t *testing.T) {
	if _, err := kms.ParseToken([]byte(tokenExample())); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ old, new, says string }{
		"another type":         {`"cyvive-kms"`, `"cyvive-tpm2"`, "expected cyvive-kms"},
		"a later version":      {`"version":1`, `"version":2`, "version 2, expected 1"},
		"an unknown field":     {`"version":1`, `"version":1,"pin":true`, "pin"},
		"something behind":     {`"version":1`, `"version":1}{"a":1`, "behind"},
		"no TLS":               {"https://", "http://", "no URL of a key server"},
		"no host":              {"kms.example:4050", ":4050", "no URL of a key server"},
		"a path":               {":4050", ":4050/a", "no URL of a key server"},
		"a user":               {"kms.example", "me@kms.example", "no URL of a key server"},
		"a long URL":           {"kms.example", strings.Repeat("a", 600), "no URL of a key server"},
		"nothing sealed":       {filled(1, 60), "", "0 bytes"},
		"too much sealed":      {filled(1, 60), filled(1, 3000), "3000 bytes"},
		"a short half":         {filled(2, 32), filled(2, 31), "31 and 60 bytes"},
		"a short key":          {filled(3, 60), filled(3, 59), "32 and 59 bytes"},
		"not base64":           {filled(3, 60), "?", "base64"},
		"a certificate alone":  {`"sealed"`, `"certificate":"PEM","sealed"`, "both or none"},
		"larger than a header": {`"PEM"`, `"` + strings.Repeat("a", 9000) + `"`, "at most"},
	} {
		text := strings.Replace(tokenExample(), c.old, c.new, 1)
		if text == tokenExample() {
			t.Fatalf("%s: %q is not in the token", name, c.old)
		}
		if _, err := kms.ParseToken([]byte(text)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %q in it", name, err, c.says)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add([]byte(tokenExample()))
	f.Fuzz(func(t *testing.T, data []byte) {
		token, err := kms.ParseToken(data)
		if err != nil {
			return
		}
		text, err := token.Encode()
		if err != nil {
			return // it takes more room, written anew: quoted characters
		}
		again, err := kms.ParseToken(text)
		if d := cmp.Diff(token, again); err != nil || d != "" {
			t.Errorf("%v (-parsed +again):\n%s", err, d)
		}
	})
}
