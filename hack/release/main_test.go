package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/hack/release/keys"
)

// run executes the program with a user's folder for its keys.
func run(t *testing.T, home string, args ...string) (out, words string, err error) {
	t.Helper()
	cmd := newCommand(func(name string) string { return map[string]string{"HOME": home}[name] })
	var stdout, stderr bytes.Buffer
	cmd.SetArgs(args)
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	err = cmd.Execute()
	return stdout.String(), stderr.String(), err
}

func TestKeys(t *testing.T) {
	home := t.TempDir()
	path := filepath.Join(home, ".local/share/cyvive/keys", keys.PrivateFile)
	_, words, err := run(t, home, "keys", "--ensure")
	if err != nil || !strings.Contains(words, path) || !strings.Contains(words, "this is yours now") {
		t.Errorf("the first key: %q, %v; want to be told of %s", words, err, path)
	}
	if out, words, err := run(t, home, "keys", "--ensure"); out+words != "" || err != nil {
		t.Errorf("again: %q%q, %v; want silence", out, words, err)
	}
	private, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := run(t, home, "keys"); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("over the key that is there: %v, want a refusal that names it", err)
	}
	if again, err := os.ReadFile(path); err != nil || !bytes.Equal(private, again) {
		t.Errorf("the key was changed: %v", err)
	}
	other := filepath.Join(home, "other")
	out, _, err := run(t, home, "keys", "--out", other)
	if err != nil || !strings.Contains(out, filepath.Join(other, keys.PublicFile)) {
		t.Errorf("elsewhere: %q, %v", out, err)
	}
	if strings.Contains(out, "BEGIN") || strings.Contains(out, strings.Split(string(private), "\n")[1]) {
		t.Error("the key itself is printed")
	}
}

// TestSecureBootKeys: an older folder gets its keys for Secure Boot, and further certificates go into what machines enrol.
func TestSecureBootKeys(t *testing.T) {
	home := t.TempDir()
	dir := filepath.Join(home, ".local/share/cyvive/keys")
	if _, err := keys.Make(dir); err != nil {
		t.Fatal(err)
	}
	if _, words, err := run(t, home, "keys", "--ensure"); err != nil || !strings.Contains(words, "PK, KEK and db in "+dir) || strings.Contains(words, "this is yours now") {
		t.Errorf("an older folder: %q, %v", words, err)
	}
	if _, words, err := run(t, home, "keys", "--ensure"); words != "" || err != nil {
		t.Errorf("again: %q, %v; want silence", words, err)
	}
	before, err := os.ReadFile(filepath.Join(dir, "db.auth"))
	if err != nil {
		t.Fatal(err)
	}
	further := filepath.Join(dir, "KEK.crt") // any certificate will do
	if out, _, err := run(t, home, "enrol", "--db", further, "--db", further); err != nil || !strings.Contains(out, "2 further entries in db, 0 in KEK") {
		t.Errorf("enrol: %q, %v", out, err)
	}
	if after, err := os.ReadFile(filepath.Join(dir, "db.auth")); err != nil || len(after) < len(before)+1000 {
		t.Errorf("db.auth has %d bytes, and had %d: %v", len(after), len(before), err)
	}
	if _, err := keys.Variables(dir); err != nil {
		t.Error(err)
	}
	if _, _, err := run(t, home, "enrol", "--kek", filepath.Join(dir, keys.PrivateFile)); err == nil || !strings.Contains(err.Error(), keys.PrivateFile) {
		t.Errorf("a key in place of a certificate: %v, want an error that names it", err)
	}
}

func TestModulesNeedAKey(t *testing.T) {
	home := t.TempDir()
	built, out := filepath.Join(home, "zfs"), filepath.Join(home, "signatures")
	if err := os.Mkdir(built, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(built, "zfs.ko"), []byte("module"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := run(t, home, "modules", "--dir", built, "--out", out); err == nil || !strings.Contains(err.Error(), "db.key") {
		t.Errorf("without a key: %v, want an error that names it", err)
	}
	if _, _, err := run(t, home, "keys", "--ensure"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := run(t, home, "modules", "--dir", built, "--out", out); err != nil {
		t.Error(err)
	}
	if made, err := os.ReadDir(out); err != nil || len(made) != 1 {
		t.Errorf("signatures: %v, %v", made, err)
	}
}

func TestDiskRefuses(t *testing.T) {
	home := t.TempDir()
	out := filepath.Join(home, "r.raw")
	if _, _, err := run(t, home, "disk", "--dir", home, "--out", out, "--enrol", "always"); err == nil || !strings.Contains(err.Error(), `"always"`) {
		t.Errorf("a word that there is not: %v", err)
	}
	if _, _, err := run(t, home, "keys", "--ensure"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := run(t, home, "disk", "--dir", home, "--out", out); err == nil || !strings.Contains(err.Error(), "disk.raw") {
		t.Errorf("without an image: %v, want an error that names what is missing", err)
	}
	if err := os.Remove(filepath.Join(home, ".local/share/cyvive/keys/db.auth")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := run(t, home, "disk", "--dir", home, "--out", out); err == nil || !strings.Contains(err.Error(), "db.auth") {
		t.Errorf("without what machines enrol: %v, want an error that names it", err)
	}
}

func TestMediaRefuses(t *testing.T) {
	home := t.TempDir()
	out := filepath.Join(home, "r")
	if _, _, err := run(t, home, "media", "--dir", home, "--disk", filepath.Join(home, "r.raw"), "--out", out); err == nil || !strings.Contains(err.Error(), "roothash") {
		t.Errorf("without an image: %v, want an error that names what is missing", err)
	}
	if _, _, err := run(t, home, "media", "--dir", home, "--out", out); err == nil || !strings.Contains(err.Error(), `"disk"`) {
		t.Errorf("without a disk image: %v", err)
	}
	if left, err := filepath.Glob(out + "*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestBundleNeedsAKey(t *testing.T) {
	home := t.TempDir()
	out := filepath.Join(home, "r.cyvive")
	if _, _, err := run(t, home, "bundle", "--dir", home, "--out", out); err == nil || !strings.Contains(err.Error(), keys.PrivateFile) {
		t.Errorf("without a key: %v, want an error that names it", err)
	}
	if _, _, err := run(t, home, "keys", "--ensure"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := run(t, home, "bundle", "--dir", home, "--out", out); err == nil || !strings.Contains(err.Error(), "release.json") {
		t.Errorf("without an image: %v, want an error that names what is missing", err)
	}
	if _, _, err := run(t, home, "bundle", "--out", out); err == nil || !strings.Contains(err.Error(), `"dir"`) {
		t.Errorf("without a folder: %v", err)
	}
}
