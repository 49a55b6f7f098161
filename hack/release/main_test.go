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
