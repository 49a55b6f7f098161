package config

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

const (
	goodPassphrase = "apiVersion: cyvive.dev/v1alpha1\nkind: DiskPassphrase\npassphrase: correct horse battery staple\n"
	thePassphrase  = "correct horse battery staple"
)

func TestTakePassphrase(t *testing.T) {
	for name, test := range map[string]struct{ data, rest, want string }{
		"none":             {badMachine, badMachine, ""},
		"alone":            {goodPassphrase, "", thePassphrase},
		"before":           {goodPassphrase + "---\n" + badMachine, "\n\n\n---\n" + badMachine, thePassphrase},
		"beside the owner": {goodOwner + "---\n" + goodPassphrase, goodOwner + "\n\n\n\n", thePassphrase},
		"a number":         {strings.Replace(goodPassphrase, thePassphrase, "12345678901234567890", 1), "", "12345678901234567890"},
		"a block":          {strings.Replace(goodPassphrase, thePassphrase, "|-\n  "+thePassphrase, 1), "", thePassphrase},
	} {
		t.Run(name, func(t *testing.T) {
			got, rest, err := TakePassphrase("user-data", []byte(test.data))
			if err != nil {
				t.Fatal(err)
			}
			if got.Reveal() != test.want || string(rest) != test.rest {
				t.Errorf("got a passphrase of %d bytes and the rest %q, want %q", len(got.Reveal()), rest, test.rest)
			}
		})
	}
}

// TestTakePassphraseMistakes: what is wrong is said, and what is secret is not.
func TestTakePassphraseMistakes(t *testing.T) {
	for name, test := range map[string]struct{ data, want string }{
		"none":         {strings.Replace(goodPassphrase, "passphrase:", "passphrases:", 1), "user-data:1: DiskPassphrase.passphrase: missing"},
		"short":        {strings.Replace(goodPassphrase, thePassphrase, "c2VjcmV0", 1), "16 to 512 bytes"},
		"long":         {strings.Replace(goodPassphrase, thePassphrase, strings.Repeat("c2VjcmV0", 65), 1), "16 to 512 bytes"},
		"a line end":   {strings.Replace(goodPassphrase, thePassphrase, "|\n  c2VjcmV0c2VjcmV0c2VjcmV0", 1), "spaces around it"},
		"redacted":     {strings.Replace(goodPassphrase, thePassphrase, Redacted, 1), "DiskPassphrase.passphrase: got "},
		"a list":       {strings.Replace(goodPassphrase, thePassphrase, "[c2VjcmV0c2VjcmV0]", 1), "got a list"},
		"no version":   {"kind: DiskPassphrase\npassphrase: c2VjcmV0c2VjcmV0c2VjcmV0\n", "DiskPassphrase.apiVersion: missing"},
		"two":          {goodPassphrase + "---\n" + goodPassphrase, "user-data:4: DiskPassphrase: second document of this kind"},
		"no YAML":      {"kind: DiskPassphrase\npassphrase: c2VjcmV0c2VjcmV0: [\n", "expected YAML"},
		"an alias":     {strings.Replace(goodPassphrase, thePassphrase, "*c2VjcmV0c2VjcmV0c2VjcmV0", 1), "unknown anchor (text)"},
		"a tag":        {strings.Replace(goodPassphrase, thePassphrase, "!c2VjcmV0c2VjcmV0c2VjcmV0", 1), "DiskPassphrase.passphrase: "},
		"an anchor":    {strings.Replace(goodPassphrase, thePassphrase, "&c2VjcmV0c2VjcmV0c2VjcmV0", 1), "DiskPassphrase.passphrase: "},
		"no space":     {"{apiVersion: cyvive.dev/v1alpha1, kind: DiskPassphrase, passphrase:c2VjcmV0c2VjcmV0}\n", "DiskPassphrase.passphrase: missing"},
		"another word": {goodPassphrase + "hint: c2VjcmV0\n", "DiskPassphrase.hint: unknown field"},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, err := TakePassphrase("user-data", []byte(test.data))
			if _, ok := errors.AsType[Errors](err); !ok || !strings.Contains(err.Error(), test.want) || !got.IsZero() {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if err != nil && (strings.Contains(err.Error(), "c2VjcmV0") || strings.Contains(err.Error(), "horse")) {
				t.Errorf("the mistake shows it: %v", err)
			}
		})
	}
}

// TestPassphraseIsNoConfiguration: what is applied, stored and shown never has it.
func TestPassphraseIsNoConfiguration(t *testing.T) {
	data, err := Marshal(full(t))
	if err != nil {
		t.Fatal(err)
	}
	whole := append([]byte(goodPassphrase+"---\n"), data...)
	if _, err := Parse("user-data", whole); err == nil || !strings.Contains(err.Error(), "DiskPassphrase") || strings.Contains(err.Error(), "horse") {
		t.Errorf("applied: %v", err)
	}
	shown, err := Redact(whole)
	if err != nil || bytes.Contains(shown, []byte("horse")) {
		t.Errorf("shown: %v", err)
	}
	if _, rest, err := TakePassphrase("user-data", whole); err != nil || bytes.Contains(rest, []byte("horse")) {
		t.Errorf("the rest has it: %v", err)
	}
}

// TestKeyServer: what a key server is named by.
func TestKeyServer(t *testing.T) {
	for url, good := range map[string]bool{
		"https://kms.example": true, "https://kms.example:4050": true, "https://10.5.0.9:4050/": true, "https://[fd00::9]:4050": true,
		"http://kms.example": false, "kms.example:4050": false, "https://": false, "https://kms.example:0": false, "https://kms.example/a": false,
		"https://me@kms.example": false, "https://kms.example?a": false, "https://KMS.example": false, "https://kms.example/" + strings.Repeat("/", 600): false,
	} {
		if isKeyServer(url) != good {
			t.Errorf("%s: got %t", url, !good)
		}
	}
	one, two := authority(t, "one").Certificate, authority(t, "two").Certificate
	for text, good := range map[string]bool{
		one: true, one + two: true, one + "\n" + two + "\n": true,
		"": false, "kms": false, one + "kms": false, one + authority(t, "key").Key.Reveal(): false, one + two[:len(two)/2]: false,
	} {
		if areAuthorities(text) != good {
			t.Errorf("authorities %q: got %t", text, !good)
		}
	}
	cfg := full(t)
	cfg.Machine.Disk.Encryption.KMS.CA = one + two
	if data, err := Marshal(cfg); err != nil {
		t.Errorf("two authorities: %v", err)
	} else if again, err := Parse("user-data", data); err != nil || again.Machine.Disk.Encryption.KMS.CA != one+two {
		t.Errorf("two authorities are read as %+v, %v", again, err)
	}
	cfg = full(t)
	cfg.Machine.Disk.Encryption.Mode, cfg.Machine.Disk.Encryption.KMS = EncryptionKMS, nil
	if _, err := Marshal(cfg); err == nil || !strings.Contains(err.Error(), "Machine.disk.encryption.kms: missing") {
		t.Errorf("the mode without a server: %v", err)
	}
	cfg = full(t)
	cfg.Machine.Disk.Encryption.KMS.Client.Key = authority(t, "other").Key
	if _, err := Marshal(cfg); err == nil || !strings.Contains(err.Error(), "kms.client.key: does not belong to the certificate") {
		t.Errorf("a key of another certificate: %v", err)
	}
}

func FuzzTakePassphrase(f *testing.F) {
	f.Add([]byte(goodPassphrase + "---\n" + badMachine))
	f.Add([]byte("%YAML 1.2\n---\n" + goodPassphrase + "...\n" + goodOwner))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, rest, err := TakePassphrase("f", data)
		if !got.IsZero() && (err != nil || len(got.Reveal()) < MinPassphraseBytes || len(got.Reveal()) > MaxPassphraseBytes) {
			t.Errorf("%q: a passphrase of %d bytes, and %v", data, len(got.Reveal()), err)
		}
		if rest != nil && bytes.Count(rest, []byte("\n")) != bytes.Count(data, []byte("\n")) {
			t.Errorf("%q of %q has other lines", rest, data)
		}
		if got.IsZero() || rest == nil {
			return
		}
		if again, _, err := TakePassphrase("f", rest); !again.IsZero() || err != nil {
			t.Errorf("the rest of %q has one again, %v", data, err)
		}
	})
}
