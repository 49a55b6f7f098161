package luks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// program returns the build machine's cryptsetup.
func program(t *testing.T) Cryptsetup {
	t.Helper()
	for _, dir := range []string{"/usr/sbin", "/usr/bin", "/sbin"} {
		path := filepath.Join(dir, "cryptsetup")
		if _, err := os.Stat(path); err == nil {
			return Cryptsetup{Program: path}
		}
	}
	if os.Getenv("REQUIRE_ROOT") == "1" {
		t.Fatal("cryptsetup is not installed, and REQUIRE_ROOT=1 promised it")
	}
	t.Skip("cryptsetup is not installed (make setup)")
	return Cryptsetup{}
}

// device returns a file of zeros that stands for a device.
func device(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "device")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 16<<20)); err != nil {
		t.Fatal(err)
	}
	return path
}

// volume returns a new volume and its key.
func volume(t *testing.T, c Cryptsetup) (string, Secret) {
	t.Helper()
	path := device(t)
	key, _ := NewKey()
	if err := c.Format(t.Context(), path, "state", key); err != nil {
		t.Fatal(err)
	}
	return path, key
}

func inspect(t *testing.T, path string) Header {
	t.Helper()
	h, err := Inspect(path)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestFormat(t *testing.T) {
	c := program(t)
	path, key := volume(t, c)
	h := inspect(t, path)
	if len(h.UUID) != 36 {
		t.Errorf("UUID is %q", h.UUID)
	}
	want := Header{
		UUID: h.UUID, Label: "state", OffsetBytes: HeaderBytes, SectorBytes: 4096, Cipher: "aes-xts-plain64", Keyslots: []Keyslot{{0, "pbkdf2"}},
	}
	if d := cmp.Diff(want, h, cmpopts.IgnoreUnexported(Header{})); d != "" {
		t.Errorf("header (-want +got):\n%s", d)
	}
	if slot, err := c.Test(t.Context(), path, key); slot != 0 || err != nil {
		t.Errorf("its key opens slot %d, %v", slot, err)
	}
	other, _ := NewKey()
	if _, err := c.Test(t.Context(), path, other); !errors.Is(err, ErrWrongKey) {
		t.Errorf("another key: %v", err)
	}
	// A new volume is another one, whatever its key.
	if err := c.Format(t.Context(), path, "state", key); err != nil {
		t.Fatal(err)
	}
	if again := inspect(t, path); again.UUID == h.UUID {
		t.Errorf("made anew, it still is %s", h.UUID)
	}
}

// TestBinaryKey: keys are bytes, whatever they look like; a line's end does not end one, nor does a zero.
func TestBinaryKey(t *testing.T) {
	c := program(t)
	path := device(t)
	data := []byte("\x00\n\r\xff line\n and more of 32 bytes\n\n")[:KeyBytes]
	key, err := Key(data)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Format(t.Context(), path, "data", key); err != nil {
		t.Fatal(err)
	}
	cut, err := Passphrase(string(data[:1]))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Test(t.Context(), path, cut); !errors.Is(err, ErrWrongKey) {
		t.Errorf("its first byte: %v", err)
	}
	if _, err := c.Test(t.Context(), path, key); err != nil {
		t.Error(err)
	}
}

func TestKeys(t *testing.T) {
	c := program(t)
	path, first := volume(t, c)
	recovery, _ := NewKey()
	phrase, err := Passphrase("correct horse battery staple\n")
	if err != nil {
		t.Fatal(err)
	}
	if slot, err := c.AddKey(t.Context(), path, first, recovery); slot != 1 || err != nil {
		t.Fatalf("added in slot %d, %v", slot, err)
	}
	stranger, _ := NewKey()
	if _, err := c.AddKey(t.Context(), path, stranger, stranger); !errors.Is(err, ErrWrongKey) {
		t.Errorf("a stranger adds a key: %v", err)
	}
	if slot, err := c.Test(t.Context(), path, recovery); slot != 1 || err != nil {
		t.Errorf("the second key opens slot %d, %v", slot, err)
	}
	if err := c.RemoveKey(t.Context(), path, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Test(t.Context(), path, first); !errors.Is(err, ErrWrongKey) {
		t.Errorf("a key that was removed: %v", err)
	}
	if err := c.RemoveKey(t.Context(), path, 0); err == nil || !strings.Contains(err.Error(), "no key in slot 0") {
		t.Errorf("removed twice: %v", err)
	}
	if err := c.RemoveKey(t.Context(), path, 1); !errors.Is(err, ErrLastKey) {
		t.Errorf("removed the last key: %v", err)
	}
	// The slot that is free is taken again.
	if slot, err := c.AddKey(t.Context(), path, recovery, phrase); slot != 0 || err != nil {
		t.Fatalf("added in slot %d, %v", slot, err)
	}
	if d := cmp.Diff([]Keyslot{{0, "argon2id"}, {1, "pbkdf2"}}, inspect(t, path).Keyslots); d != "" {
		t.Errorf("slots (-want +got):\n%s", d)
	}
	if slot, err := c.Test(t.Context(), path, phrase); slot != 0 || err != nil {
		t.Errorf("the passphrase opens slot %d, %v", slot, err)
	}
}

// TestFull: a header that has no room for another key says so, and has room once one is removed.
func TestFull(t *testing.T) {
	c := program(t)
	path, first := volume(t, c)
	for n := 1; n < maxKeys; n++ {
		further, _ := NewKey()
		if slot, err := c.AddKey(t.Context(), path, first, further); slot != n || err != nil {
			t.Fatalf("key %d is in slot %d, %v", n, slot, err)
		}
	}
	further, _ := NewKey()
	if _, err := c.AddKey(t.Context(), path, first, further); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "it has 16 keys") {
		t.Errorf("one more: %v", err)
	}
	if err := c.RemoveKey(t.Context(), path, 3); err != nil {
		t.Fatal(err)
	}
	if slot, err := c.AddKey(t.Context(), path, first, further); slot != 3 || err != nil {
		t.Errorf("after one was removed, in slot %d: %v", slot, err)
	}
}

func TestTokens(t *testing.T) {
	c := program(t)
	path, _ := volume(t, c)
	text := `{"type":"cyvive-tpm2","keyslots":["0"],"volume":"state","blob":"AAEC","version":1}`
	token, err := ParseToken([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if token.Type != "cyvive-tpm2" || !slices.Equal(token.Keyslots, []int{0}) {
		t.Errorf("token is %+v", token)
	}
	token.Number = 3
	for range 2 { // the second replaces the first
		if err := c.PutToken(t.Context(), path, token); err != nil {
			t.Fatal(err)
		}
	}
	got, err := c.Token(t.Context(), path, 3)
	if err != nil {
		t.Fatal(err)
	}
	tokens := inspect(t, path).Tokens
	if len(tokens) != 1 || tokens[0].Number != 3 {
		t.Fatalf("the header has the tokens %+v", tokens)
	}
	for name, json := range map[string][]byte{"cryptsetup": got.JSON, "ReadHeader": tokens[0].JSON} {
		if d := cmp.Diff(fields(t, []byte(text)), fields(t, json)); d != "" {
			t.Errorf("%s returns (-want +got):\n%s", name, d)
		}
	}
	token.Number, token.JSON = 4, []byte(`{"type":"cyvive-tpm2","keyslots":["7"]}`)
	if err := c.PutToken(t.Context(), path, token); err == nil {
		t.Error("a token of a slot that is not there was taken")
	}
	if err := c.RemoveToken(t.Context(), path, 3); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Token(t.Context(), path, 3); err == nil {
		t.Error("a token that was removed is there")
	}
	if tokens := inspect(t, path).Tokens; len(tokens) != 0 {
		t.Errorf("the header has the tokens %+v", tokens)
	}
}

func fields(t *testing.T, data []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func overwrite(t *testing.T, path string, at int64, data []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(data, at); err != nil {
		t.Fatal(err)
	}
}

// TestDamage: one copy of a header is enough, and cryptsetup agrees.
func TestDamage(t *testing.T) {
	c := program(t)
	path, key := volume(t, c)
	sound := inspect(t, path)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	junk := bytes.Repeat([]byte("junk"), 128)
	for _, test := range []struct {
		name   string
		at     []int64
		usable bool
	}{
		{"first JSON", []int64{binaryBytes}, true},
		{"first magic", []int64{0}, true},
		{"second JSON", []int64{minHeaderBytes + binaryBytes}, true},
		{"second magic", []int64{minHeaderBytes}, true},
		{"both", []int64{binaryBytes, minHeaderBytes + binaryBytes}, false},
		{"first magic and second JSON", []int64{0, minHeaderBytes + binaryBytes}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			overwrite(t, path, 0, whole)
			for _, at := range test.at {
				overwrite(t, path, at, junk)
			}
			h, err := Inspect(path)
			if test.usable {
				want := sound
				want.Repair = true
				if d := cmp.Diff(want, h, cmpopts.IgnoreUnexported(Header{})); d != "" || err != nil {
					t.Errorf("%v (-want +got):\n%s", err, d)
				}
			} else if !errors.Is(err, ErrDamaged) {
				t.Errorf("got %v", err)
			}
			if _, err := c.Test(t.Context(), path, key); (err == nil) != test.usable {
				t.Errorf("cryptsetup says %v", err)
			}
		})
	}
}

func TestInspectRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		data []byte
		says string
	}{
		"zeros":   {make([]byte, 1<<20), ErrNone.Error()},
		"nothing": {nil, ErrNone.Error()},
		"LUKS1":   {[]byte("LUKS\xba\xbe\x00\x01" + strings.Repeat("\x00", 8192)), "version 1, expected 2"},
		"cut off": {append([]byte("LUKS\xba\xbe\x00\x02\x00\x00\x00\x00\x00\x00\x40\x00"), make([]byte, 300)...), "kind"},
	} {
		_, err := ReadHeader(bytes.NewReader(test.data))
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: got %v, want an error with %q", name, err, test.says)
		}
	}
	if _, err := Inspect(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no device: %v", err)
	}
}

func TestSecrets(t *testing.T) {
	if _, err := Key(make([]byte, 31)); err == nil {
		t.Error("a key of 31 bytes was taken")
	}
	for _, text := range []string{"", strings.Repeat("x", MaxSecretBytes+1)} {
		if _, err := Passphrase(text); err == nil {
			t.Errorf("a passphrase of %d bytes was taken", len(text))
		}
	}
	s, err := Passphrase("hunter2")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("secret", "s", s)
	encoded, err := json.Marshal(map[string]any{"s": s})
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{fmt.Sprintf("%v %+v %#v %x %s %q", s, s, s, s, s, s), log.String(), string(encoded)} {
		if strings.Contains(shown, "hunter2") || strings.Contains(shown, fmt.Sprintf("%x", "hunter2")) || !strings.Contains(shown, redacted) {
			t.Errorf("a secret shows itself: %s", shown)
		}
	}
}

// TestNothingInArguments runs a script in cryptsetup's place that prints what it was called with. In the virtual machine there is no shell; the test runs on
// the machine that builds.
func TestNothingInArguments(t *testing.T) {
	if os.Getenv("CYVIVE_VM") == "1" {
		t.Skip("needs a shell, and runs on the machine that builds")
	}
	dir := t.TempDir()
	spy := filepath.Join(dir, "spy")
	script := "#!/bin/sh\n{ echo \"$@\"; env; } > " + dir + "/seen\ncat > " + dir + "/stdin\ncat <&3 > " + dir + "/second\necho Key slot 1 unlocked.\n"
	if err := os.WriteFile(spy, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	has, data := NewKey()
	phrase, err := Passphrase("hunter2")
	if err != nil {
		t.Fatal(err)
	}
	c := Cryptsetup{Program: spy}
	if _, err := c.run(t.Context(), []Secret{has, phrase}, nil, "luksAddKey"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]byte{"stdin": data, "second": []byte("hunter2")} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
	seen, err := os.ReadFile(filepath.Join(dir, "seen"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(seen, []byte("hunter2")) || bytes.Contains(seen, data) || !bytes.Contains(seen, []byte("DM_DISABLE_UDEV=1")) {
		t.Errorf("arguments and environment: %q", seen)
	}
}
