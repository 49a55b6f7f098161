package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/pki/store"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestStampSaysWhenASetIsCurrent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "set")
	stamp := store.Stamp{Inputs: store.Fingerprint([]string{"a"}), RenewAt: now.Add(time.Hour), MadeAt: now}
	current := func(inputs any, at time.Time) bool {
		t.Helper()
		s, err := store.Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		return s.Current(store.Fingerprint(inputs), at)
	}
	if current([]string{"a"}, now) {
		t.Error("an absent set is current")
	}
	if err := store.Write(dir, os.Getuid(), map[string][]byte{"key": []byte("secret")}, stamp); err != nil {
		t.Fatal(err)
	}
	if !current([]string{"a"}, now) || current([]string{"b"}, now) || current([]string{"a"}, now.Add(time.Hour)) {
		t.Error("current: want it for its inputs, until it is to be renewed")
	}
	if !current([]string{"a"}, now.Add(-59*time.Minute)) || current([]string{"a"}, now.Add(-time.Hour)) {
		t.Error("current: want it until the clock goes back by an hour, from when its certificates hold")
	}
	if err := os.WriteFile(filepath.Join(dir, ".stamp"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if current([]string{"a"}, now) {
		t.Error("a set with a damaged stamp is current")
	}
}

func TestFilesAreTheirOwnersOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "set")
	if err := store.Write(dir, os.Getuid(), map[string][]byte{"key": []byte("secret")}, store.Stamp{}); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, "key"): 0o600} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: got %v, %v, want mode %v", path, info.Mode(), err, want)
		}
	}
}

// TestForeignStamp: what somebody else has put in the stamp's place is no stamp, is
// not followed or waited for, and goes with the next set.
func TestForeignStamp(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "stamp")
	if err := os.WriteFile(outside, []byte(`{"inputs":"a"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, put := range map[string]func(path string) error{
		"link":             func(path string) error { return os.Symlink(outside, path) },
		"link to a device": func(path string) error { return os.Symlink("/dev/zero", path) },
		"pipe":             func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"long file": func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<40))
		},
	} {
		dir := t.TempDir()
		if err := put(filepath.Join(dir, ".stamp")); err != nil {
			t.Fatal(err)
		}
		if got, err := store.Read(dir); err != nil || got != (store.Stamp{}) {
			t.Errorf("%s: got %+v, %v; want no stamp", name, got, err)
		}
		want := store.Stamp{Inputs: "b", RenewAt: now, MadeAt: now}
		if err := store.Write(dir, os.Getuid(), nil, want); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := store.Read(dir); err != nil || got.Inputs != "b" {
			t.Errorf("%s, after another set: got %+v, %v", name, got, err)
		}
	}
	if data, err := os.ReadFile(outside); err != nil || string(data) != `{"inputs":"a"}` {
		t.Errorf("the file outside: got %q, %v", data, err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, ".stamp"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := store.Read(dir); err != nil || got != (store.Stamp{}) {
		t.Errorf("folder: got %+v, %v; want no stamp", got, err)
	}
}

// A container has the directory bound: it must stay the same one, and a reader
// that has a file open must keep what it opened.
func TestRenewalIsSeenThroughABind(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "set")
	write := func(text string) {
		if err := store.Write(dir, os.Getuid(), map[string][]byte{"key": []byte(text)}, store.Stamp{}); err != nil {
			t.Fatal(err)
		}
	}
	write("old")
	before, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	open, err := os.Open(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	write("new")
	after, err := os.Stat(dir)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the directory was replaced (%v)", err)
	}
	data := make([]byte, 3)
	if _, err := open.Read(data); err != nil || string(data) != "old" {
		t.Errorf("the open file: got %q, %v", data, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("left over: %v, %v", entries, err)
	}
}
