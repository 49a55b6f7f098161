package lock

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Archives a pool path may be relative to.
const (
	ArchiveMain     = "debian"
	ArchiveSecurity = "debian-security"
)

// Lock is the content of the lock file.
type Lock struct {
	// Epoch is the time, in seconds since 1970, that every file of the image
	// carries: the date of the newest index the packages were taken from.
	Epoch int64 `json:"epoch"`
	// Architectures maps a Debian architecture (amd64, arm64) to its pins.
	Architectures map[string]*Pins `json:"architectures"`
}

// Pins are the packages of one architecture, sorted by name.
type Pins struct {
	// Kernel is the release of the pinned kernel, as uname -r prints it.
	Kernel   string    `json:"kernel"`
	Packages []Package `json:"packages"`
}

// Package is one pinned package.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"`
	// Archive is ArchiveMain or ArchiveSecurity; Path is relative to it.
	Archive string `json:"archive"`
	Path    string `json:"path"`
	SHA256  string `json:"sha256"`
	Size    int64  `json:"sizeBytes"`
}

// Find returns the package called name.
func (p *Pins) Find(name string) (Package, error) {
	for _, k := range p.Packages {
		if k.Name == name {
			return k, nil
		}
	}
	return Package{}, fmt.Errorf("find package %s: not in the lock file; run `make lock`", name)
}

// Load reads and checks the lock file at path.
func Load(path string) (*Lock, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read lock file: %w", err)
	}
	l, err := Parse(b)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return l, nil
}

// Parse decodes a lock file strictly: unknown fields are refused, and every
// entry must be usable as it stands.
func Parse(b []byte) (*Lock, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	l := new(Lock)
	if err := d.Decode(l); err != nil {
		return nil, fmt.Errorf("decode lock: %w", err)
	}
	if l.Epoch <= 0 {
		return nil, errors.New("decode lock: epoch is not positive")
	}
	for arch, pins := range l.Architectures {
		if pins == nil {
			return nil, fmt.Errorf("decode lock: architecture %s is empty", arch)
		}
		for _, p := range pins.Packages {
			if err := p.check(); err != nil {
				return nil, fmt.Errorf("decode lock: %s: package %q: %w", arch, p.Name, err)
			}
		}
	}
	return l, nil
}

func (p Package) check() error {
	if p.Name == "" || p.Version == "" {
		return errors.New("name or version is missing")
	}
	if p.Archive != ArchiveMain && p.Archive != ArchiveSecurity {
		return fmt.Errorf("archive %q, expected %s or %s", p.Archive, ArchiveMain, ArchiveSecurity)
	}
	if !strings.HasPrefix(p.Path, "pool/") || strings.Contains(p.Path, "..") || strings.Contains(p.Path, "://") {
		return fmt.Errorf("path %q is not a pool path", p.Path)
	}
	if b, err := hex.DecodeString(p.SHA256); err != nil || len(b) != 32 {
		return fmt.Errorf("sha256 %q is not 64 hex digits", p.SHA256)
	}
	return nil
}

// Save writes the lock to path, sorted.
func (l *Lock) Save(path string) error {
	for _, pins := range l.Architectures {
		slices.SortFunc(pins.Packages, func(a, b Package) int { return strings.Compare(a.Name, b.Name) })
	}
	b, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return fmt.Errorf("encode lock: %w", err)
	}
	if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("write lock file: %w", err)
	}
	return nil
}
