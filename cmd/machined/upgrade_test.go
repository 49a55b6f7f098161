package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/machined/boot/marker"
	"github.com/cyvive/cyvive/internal/machined/upgrade"
	"github.com/cyvive/cyvive/internal/storage/loader"
)

// TestEntries: what the keeper of upgrades sees is what lies on the boot partition.
func TestEntries(t *testing.T) {
	dir := t.TempDir()
	e := entries{loader.New(func() (loader.Volume, error) {
		return loader.Volume{Dir: dir, FreeBytes: 9 << 20, Close: func() error { return nil }}, nil
	})}
	var keeper upgrade.Entries = e
	check := func(step string, want map[string]upgrade.Entry) {
		t.Helper()
		got, err := keeper.Read()
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", step, err, d)
		}
	}
	const room = 8 << 20 // a MiB is kept
	check("nothing", map[string]upgrade.Entry{"a": {KernelBytes: room}, "b": {KernelBytes: room}})
	if err := keeper.Put("b", "1.1.0", upgrade.Tries, strings.NewReader("kernel")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "loader/entries/cyvive-b+2.conf")); err != nil {
		t.Error(err)
	}
	check("put", map[string]upgrade.Entry{"a": {KernelBytes: room}, "b": {Version: "1.1.0", Counted: true, Untried: true, KernelBytes: room + 6}})
	if err := keeper.Bless("b"); err != nil {
		t.Fatal(err)
	}
	check("blessed", map[string]upgrade.Entry{"a": {KernelBytes: room}, "b": {Version: "1.1.0", KernelBytes: room + 6}})
}

func TestReadKeys(t *testing.T) {
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize)).Public().(ed25519.PublicKey)
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	good := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	for name, test := range map[string]struct {
		text string
		want []ed25519.PublicKey
	}{"good": {good, []ed25519.PublicKey{key}}, "bad": {good + "text", nil}, "none": {"", nil}} {
		path := filepath.Join(dir, name)
		if name != "none" {
			if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if d := cmp.Diff(test.want, readKeys(log, path)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// TestNeverTheRunningSlot: nobody who asks gets the slot written that runs, or one under a name that is no root hash.
func TestNeverTheRunningSlot(t *testing.T) {
	s := slots{nil, "/dev/null", "a"}
	for slot, hash := range map[string]string{"a": strings.Repeat("ab", 32), "b": "abc"} {
		if err := s.Write(t.Context(), slot, hash, strings.NewReader("x"), strings.NewReader("y")); err == nil {
			t.Errorf("slot %s was written", slot)
		}
	}
	if upgrades(slog.New(slog.DiscardHandler), nil, nil, marker.Marker{Disk: "vda"}, "") != nil {
		t.Error("a system that was started from no slot has upgrades")
	}
}
