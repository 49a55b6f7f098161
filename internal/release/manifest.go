package release

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"golang.org/x/mod/semver"
)

// The names of the parts, in their order in a bundle.
const (
	Kernel = "cyvive.efi"
	Verity = "root.verity"
	Root   = "root.erofs.zst"
)

// parts is the order.
var parts = []string{Kernel, Verity, Root}

// MaxManifestBytes is the largest manifest that is read.
const MaxManifestBytes = 64 << 10

// Manifest says what a release is.
type Manifest struct {
	// Version is the release's version, by semver.org 2.0, without a leading v.
	Version string `json:"version"`
	// Architecture is amd64 or arm64.
	Architecture string `json:"architecture"`
	// RootHash is the root hash of dm-verity in 64 lower-case hexadecimal digits. It tells releases of one version apart.
	RootHash string `json:"rootHash"`
	// RootBytes is the size of the root once it is decompressed.
	RootBytes int64 `json:"rootBytes"`
	// Files are the parts, in the order of the bundle.
	Files []File `json:"files"`
}

// File is one part.
type File struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
	// SHA256 is in 64 lower-case hexadecimal digits.
	SHA256 string `json:"sha256"`
}

// File returns the part of that name, which a valid manifest has.
func (m Manifest) File(name string) File {
	for _, f := range m.Files {
		if f.Name == name {
			return f
		}
	}
	return File{}
}

// PartsBytes is the size of all parts together.
func (m Manifest) PartsBytes() int64 {
	var n int64
	for _, f := range m.Files {
		n += f.Bytes
	}
	return n
}

// maxPartBytes bounds the size of a part and of the root, far above any slot.
const maxPartBytes = 1 << 40

// ParseManifest decodes a manifest strictly: every field is there and valid, and there is no other.
func ParseManifest(data []byte) (Manifest, error) {
	if len(data) > MaxManifestBytes {
		return Manifest{}, fmt.Errorf("parse manifest: %d bytes, more than the %d that are read", len(data), MaxManifestBytes)
	}
	var m Manifest
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return Manifest{}, fmt.Errorf("parse manifest: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Manifest{}, errors.New("parse manifest: there is something behind it")
	}
	if err := m.check(); err != nil {
		return Manifest{}, fmt.Errorf("parse manifest: %w", err)
	}
	return m, nil
}

func (m Manifest) check() error {
	switch {
	case !semver.IsValid("v" + m.Version):
		return fmt.Errorf("version %q is not of the form 1.2.3", m.Version)
	case !slices.Contains([]string{"amd64", "arm64"}, m.Architecture):
		return fmt.Errorf("architecture %q is neither amd64 nor arm64", m.Architecture)
	case !isSHA256(m.RootHash):
		return fmt.Errorf("root hash %q is not 64 hexadecimal digits", m.RootHash)
	case m.RootBytes <= 0 || m.RootBytes > maxPartBytes:
		return fmt.Errorf("a root of %d bytes is out of range", m.RootBytes)
	case len(m.Files) != len(parts):
		return fmt.Errorf("%d files, want %d", len(m.Files), len(parts))
	}
	for i, f := range m.Files {
		switch {
		case f.Name != parts[i]:
			return fmt.Errorf("file %d is %q, want %q", i+1, f.Name, parts[i])
		case f.Bytes <= 0 || f.Bytes > maxPartBytes:
			return fmt.Errorf("%s: a size of %d bytes is out of range", f.Name, f.Bytes)
		case !isSHA256(f.SHA256):
			return fmt.Errorf("%s: SHA-256 %q is not 64 hexadecimal digits", f.Name, f.SHA256)
		}
	}
	return nil
}

func isSHA256(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32 && hex.EncodeToString(b) == s
}
