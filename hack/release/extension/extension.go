// Package extension makes a signed extension of what `mkimage extension` has left in a folder. The format is that of internal/extension.
package extension

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/cyvive/cyvive/internal/extension"
	"github.com/cyvive/cyvive/internal/release"
)

// Describe returns the manifest of what a folder holds. It is not checked before it is signed.
func Describe(dir string) (extension.Manifest, error) {
	m, err := describe(dir)
	if err != nil {
		return extension.Manifest{}, fmt.Errorf("describe extension in %s: %w", dir, err)
	}
	return m, nil
}

func describe(dir string) (extension.Manifest, error) {
	var m extension.Manifest
	text, err := os.ReadFile(filepath.Join(dir, "extension.json"))
	if err != nil {
		return m, err
	}
	if m.Description, err = extension.ParseDescription(text); err != nil {
		return m, fmt.Errorf("extension.json: %w", err)
	}
	facts, err := os.ReadFile(filepath.Join(dir, "build.json"))
	if err != nil {
		return m, err
	}
	var b struct{ Architecture, Kernel string }
	if err := json.Unmarshal(facts, &b); err != nil {
		return m, fmt.Errorf("read build.json: %w", err)
	}
	m.Architecture, m.Kernel = b.Architecture, b.Kernel
	hash, err := os.ReadFile(filepath.Join(dir, "roothash"))
	if err != nil {
		return m, err
	}
	m.RootHash = strings.TrimSpace(string(hash))
	for _, name := range []string{extension.Image, extension.Verity, extension.SBOM} {
		f, err := part(dir, name)
		if err != nil {
			return m, err
		}
		m.Files = append(m.Files, f)
	}
	return m, nil
}

func part(dir, name string) (release.File, error) {
	in, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return release.File{}, err
	}
	defer in.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, in)
	if err != nil {
		return release.File{}, err
	}
	return release.File{Name: name, Bytes: n, SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}

// Write signs what a folder holds and writes it as one file, whole or not at all.
func Write(out, dir string, key ed25519.PrivateKey) (m extension.Manifest, err error) {
	if m, err = Describe(dir); err != nil {
		return m, err
	}
	envelope, err := extension.Sign(m, key)
	if err != nil {
		return m, err
	}
	f, err := os.CreateTemp(filepath.Dir(out), ".new-*")
	if err != nil {
		return m, fmt.Errorf("write extension: %w", err)
	}
	defer os.Remove(f.Name())
	err = extension.Write(f, envelope, m, func(name string) (io.ReadCloser, error) { return os.Open(filepath.Join(dir, name)) })
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return m, err
	}
	if err := os.Rename(f.Name(), out); err != nil {
		return m, fmt.Errorf("write extension: %w", err)
	}
	return m, nil
}
