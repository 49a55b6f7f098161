package extension

import (
	"bytes"
	"crypto/ed25519"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/internal/extension"
	"github.com/cyvive/cyvive/internal/release"
)

// folder is what mkimage leaves.
func folder(t *testing.T, change map[string]string) string {
	t.Helper()
	files := map[string]string{
		"extension.json": `{"name": "nlmon", "version": "1.0.0", "modules": ["nlmon"]}`,
		"build.json":     `{"architecture": "amd64", "kernel": "6.12.57"}`, "roothash": strings.Repeat("ab", 32) + "\n",
		extension.Image: strings.Repeat("image123", 1024), extension.Verity: strings.Repeat("tree", 1024), extension.SBOM: "{}\n",
	}
	for name, text := range change {
		files[name] = text
	}
	dir := t.TempDir()
	for name, text := range files {
		if text == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// TestWrite: what is written is what the node reads; the same folder gives the same bytes.
func TestWrite(t *testing.T) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	dir, out := folder(t, nil), filepath.Join(t.TempDir(), "out")
	m, err := Write(out, dir, key)
	if err != nil || m.String() != "nlmon 1.0.0 for kernel 6.12.57" {
		t.Fatalf("%s, %v", m, err)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	r, err := extension.Open(bytes.NewReader(data), []ed25519.PublicKey{key.Public().(ed25519.PublicKey)})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]*bytes.Buffer{}
	err = r.Extract(func(f release.File) (io.WriteCloser, error) {
		got[f.Name] = &bytes.Buffer{}
		return nopCloser{got[f.Name]}, nil
	})
	if err != nil || got[extension.Image].String() != strings.Repeat("image123", 1024) || r.Manifest.RootHash != strings.Repeat("ab", 32) {
		t.Errorf("read back: %+v, %v", r.Manifest, err)
	}
	if _, err := Write(out, dir, key); err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(out); err != nil || !bytes.Equal(data, again) {
		t.Errorf("the same folder gave other bytes: %v", err)
	}
}

func TestRefused(t *testing.T) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	for name, test := range map[string]struct {
		change map[string]string
		says   string
	}{
		"no description": {map[string]string{"extension.json": ""}, "extension.json"},
		"unknown field":  {map[string]string{"extension.json": `{"name": "x", "version": "1.0.0", "modules": ["x"], "devices": []}`}, "unknown field"},
		"more than allowed": {map[string]string{"extension.json": `{"name": "x", "version": "1.0.0", "os": {"from": "0.1.0"},
			"service": {"program": "/x", "user": 2000, "capabilities": ["CAP_SYS_ADMIN"]}}`}, "CAP_SYS_ADMIN"},
		"no kernel":    {map[string]string{"build.json": `{"architecture": "amd64"}`}, "kernel"},
		"no image":     {map[string]string{extension.Image: ""}, extension.Image},
		"half a block": {map[string]string{extension.Image: "image"}, "whole blocks"},
		"no root hash": {map[string]string{"roothash": "ab"}, "root hash"},
	} {
		out := filepath.Join(t.TempDir(), "out")
		if _, err := Write(out, folder(t, test.change), key); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: got %v, want an error with %q", name, err, test.says)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%s: something was written", name)
		}
	}
}
