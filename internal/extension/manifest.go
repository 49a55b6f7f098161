package extension

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"

	"golang.org/x/mod/semver"

	"github.com/cyvive/cyvive/internal/release"
)

// The names of the parts, in their order.
const (
	Image  = "image.erofs"
	Verity = "image.verity"
	SBOM   = "sbom.spdx.json"
)

// The directories of the image.
const (
	ModulesDir = "modules"
	RootDir    = "rootfs"
)

// parts is the order, with the largest size of each.
var parts = []struct {
	name     string
	maxBytes int64
}{{Image, 1 << 30}, {Verity, 64 << 20}, {SBOM, 16 << 20}}

const (
	// blockBytes is the block size of the image and its hash tree.
	blockBytes = 4096
	// maxModules bounds how many modules an extension has the node load.
	maxModules = 64
)

// Description is what whoever makes an extension says of it.
type Description struct {
	// Name is the extension's, in lower case.
	Name string `json:"name"`
	// Version is its own version, by semver.org 2.0, without a leading v.
	Version string `json:"version"`
	// Modules are loaded in this order, each after what it needs.
	Modules []string `json:"modules,omitempty"`
	// OS is the range of versions of the operating system that it works with. The zero Range is all.
	OS Range `json:"os,omitzero"`
	// Service is nil for modules alone.
	Service *Service `json:"service,omitempty"`
}

// Range is a range of versions; an empty end is open.
type Range struct {
	// From is in it, Before is not.
	From   string `json:"from,omitempty"`
	Before string `json:"before,omitempty"`
}

// Manifest says what an extension is.
type Manifest struct {
	Description
	// Architecture is amd64 or arm64.
	Architecture string `json:"architecture"`
	// Kernel is the release of the kernel, as uname -r prints it, that the modules are for; empty without modules.
	Kernel string `json:"kernel,omitempty"`
	// RootHash is the root hash of dm-verity in 64 lower-case hexadecimal digits.
	RootHash string `json:"rootHash"`
	// Files are the parts, in the order of the file.
	Files []release.File `json:"files"`
}

// String names it for a person.
func (m Manifest) String() string {
	text := m.Name + " " + m.Version
	if m.Kernel != "" {
		text += " for kernel " + m.Kernel
	}
	return text
}

// PartsBytes is the size of all parts together.
func (m Manifest) PartsBytes() int64 {
	var n int64
	for _, f := range m.Files {
		n += f.Bytes
	}
	return n
}

// Hash is the root hash of a valid manifest.
func (m Manifest) Hash() [32]byte {
	b, err := hex.DecodeString(m.RootHash)
	if err != nil || len(b) != 32 {
		panic(fmt.Sprintf("extension: root hash %q of a manifest that was checked", m.RootHash))
	}
	return [32]byte(b)
}

var (
	namePattern   = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$`)
	modulePattern = regexp.MustCompile(`^[a-z0-9_]{1,55}$`) // MODULE_NAME_LEN, include/linux/module.h
)

// IsName says whether a text can be the name of an extension.
func IsName(s string) bool { return namePattern.MatchString(s) }

// IsVersion says whether a text can be its version.
func IsVersion(s string) bool {
	return len(s) <= 64 && semver.IsValid("v"+s) && semver.Canonical("v"+s)+semver.Build("v"+s) == "v"+s
}

// ParseDescription decodes what whoever makes an extension says of it, strictly.
func ParseDescription(data []byte) (Description, error) {
	var d Description
	err := decode(data, &d)
	if err == nil {
		err = d.check()
	}
	if err != nil {
		return Description{}, fmt.Errorf("parse description: %w", err)
	}
	return d, nil
}

// ParseManifest decodes a manifest strictly: every field is there and valid, and there is no other.
func ParseManifest(data []byte) (Manifest, error) {
	var m Manifest
	err := decode(data, &m)
	if err == nil {
		err = m.check()
	}
	if err != nil {
		return Manifest{}, fmt.Errorf("parse manifest: %w", err)
	}
	return m, nil
}

func decode(data []byte, to any) error {
	if len(data) > release.MaxManifestBytes {
		return fmt.Errorf("%d bytes, more than the %d that are read", len(data), release.MaxManifestBytes)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something behind it")
	}
	return nil
}

func (d Description) check() error {
	switch {
	case !IsName(d.Name):
		return fmt.Errorf("name %q is not of the form web-agent: lower-case letters, digits and dashes, 40 at most", d.Name)
	case !IsVersion(d.Version):
		return fmt.Errorf("version %q is not of the form 1.2.3", d.Version)
	case len(d.Modules) == 0 && d.Service == nil:
		return errors.New("it has neither modules nor a service")
	case len(d.Modules) > maxModules:
		return fmt.Errorf("%d modules, more than the %d that are loaded", len(d.Modules), maxModules)
	}
	for i, name := range d.Modules {
		switch {
		case !modulePattern.MatchString(name):
			return fmt.Errorf("module %q is no module name: folders, suffixes and dashes are left out", name)
		case slices.Contains(d.Modules[:i], name):
			return fmt.Errorf("module %s is there a second time", name)
		}
	}
	for field, v := range map[string]string{"from": d.OS.From, "before": d.OS.Before} {
		if v != "" && !IsVersion(v) {
			return fmt.Errorf("os.%s %q is not of the form 1.2.3", field, v)
		}
	}
	if d.Service == nil {
		return nil
	}
	if d.OS.From == "" {
		return errors.New("os.from is missing: a service names the oldest version of the operating system that it works with")
	}
	return d.Service.check()
}

func (m Manifest) check() error {
	if err := m.Description.check(); err != nil {
		return err
	}
	switch {
	case m.Architecture != "amd64" && m.Architecture != "arm64":
		return fmt.Errorf("architecture %q is neither amd64 nor arm64", m.Architecture)
	case len(m.Modules) > 0 && !release.IsKernelRelease(m.Kernel):
		return fmt.Errorf("kernel %q is no release of a kernel, and its modules are for one", m.Kernel)
	case len(m.Modules) == 0 && m.Kernel != "":
		return errors.New("it names a kernel and has no modules")
	case !isSHA256(m.RootHash):
		return fmt.Errorf("root hash %q is not 64 hexadecimal digits", m.RootHash)
	case len(m.Files) != len(parts):
		return fmt.Errorf("%d files, want %d", len(m.Files), len(parts))
	}
	for i, f := range m.Files {
		switch want := parts[i]; {
		case f.Name != want.name:
			return fmt.Errorf("file %d is %q, want %q", i+1, f.Name, want.name)
		case f.Bytes <= 0 || f.Bytes > want.maxBytes:
			return fmt.Errorf("%s: a size of %d bytes is not between 1 and %d", f.Name, f.Bytes, want.maxBytes)
		case f.Name != SBOM && f.Bytes%blockBytes != 0:
			return fmt.Errorf("%s: %d bytes are not whole blocks of %d", f.Name, f.Bytes, blockBytes)
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
