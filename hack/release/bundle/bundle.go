// Package bundle makes a signed release of what the image builder has published in a folder. The format is that of internal/release.
package bundle

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"debug/pe"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/cyvive/cyvive/internal/release"
	"github.com/cyvive/cyvive/internal/trust/pcr"
	"github.com/cyvive/cyvive/internal/trust/secureboot"
)

// maxWindowBytes is how far back a root may refer: what nodes decompress with (internal/machined/upgrade).
const maxWindowBytes = 64 << 20

// Describe returns the manifest of what a folder holds, as it is. Nothing is taken on trust that can be read off the parts: the architecture is that of the
// kernel image, the size of the root that of the decompressed stream, and the kernel image must open the root that lies beside it.
func Describe(dir string) (release.Manifest, error) { return describe(dir, plain(dir)) }

// parts opens the parts of a release by their names.
type parts func(name string) (io.ReadCloser, error)

// plain are the files of a folder.
func plain(dir string) parts {
	return func(name string) (io.ReadCloser, error) { return os.Open(filepath.Join(dir, name)) }
}

func describe(dir string, open parts) (release.Manifest, error) {
	var m release.Manifest
	addFiles := func(_ string, m *release.Manifest) error { return addFiles(open, m) }
	for _, fill := range []func(string, *release.Manifest) error{addVersion, addRootHash, addKernel, addRootBytes, addFiles} {
		if err := fill(dir, &m); err != nil {
			return release.Manifest{}, fmt.Errorf("describe release in %s: %w", dir, err)
		}
	}
	return m, nil
}

func addVersion(dir string, m *release.Manifest) error {
	data, err := os.ReadFile(filepath.Join(dir, "release.json"))
	if err != nil {
		return err
	}
	var r struct{ Version string }
	if err := json.Unmarshal(data, &r); err != nil {
		return fmt.Errorf("read release.json: %w", err)
	}
	m.Version = r.Version
	return nil
}

func addRootHash(dir string, m *release.Manifest) error {
	data, err := os.ReadFile(filepath.Join(dir, "roothash"))
	m.RootHash = strings.TrimSpace(string(data))
	return err
}

// machines are the architectures by their number in a PE file (PE Format, "Machine Types").
var machines = map[uint16]string{pe.IMAGE_FILE_MACHINE_AMD64: "amd64", pe.IMAGE_FILE_MACHINE_ARM64: "arm64"}

func addKernel(dir string, m *release.Manifest) error {
	f, err := pe.Open(filepath.Join(dir, release.Kernel))
	if err != nil {
		return fmt.Errorf("read %s: %w", release.Kernel, err)
	}
	defer f.Close()
	var known bool
	if m.Architecture, known = machines[f.Machine]; !known {
		return fmt.Errorf("%s is for machine %#x, which is neither amd64 nor arm64", release.Kernel, f.Machine)
	}
	section := f.Section(".cmdline")
	if section == nil {
		return fmt.Errorf("%s is no unified kernel image: it has no section .cmdline", release.Kernel)
	}
	data, err := section.Data()
	if err != nil {
		return fmt.Errorf("read command line of %s: %w", release.Kernel, err)
	}
	line := strings.TrimRight(string(data), "\x00")
	if want := "roothash=" + m.RootHash; !slices.Contains(strings.Split(line, " "), want) {
		return fmt.Errorf("%s has the command line %q, without %s: it is of another build", release.Kernel, line, want)
	}
	return nil
}

func addRootBytes(dir string, m *release.Manifest) error {
	f, err := os.Open(filepath.Join(dir, release.Root))
	if err != nil {
		return err
	}
	defer f.Close()
	d, err := zstd.NewReader(f, zstd.WithDecoderMaxWindow(maxWindowBytes))
	if err != nil {
		return fmt.Errorf("decompress %s: %w", release.Root, err)
	}
	defer d.Close()
	if m.RootBytes, err = io.Copy(io.Discard, d); err != nil {
		return fmt.Errorf("decompress %s: %w", release.Root, err)
	}
	return nil
}

func addFiles(open parts, m *release.Manifest) error {
	for _, name := range []string{release.Kernel, release.Verity, release.Root} {
		f, err := open(name)
		if err != nil {
			return err
		}
		sum := sha256.New()
		n, err := io.Copy(sum, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("hash %s: %w", name, err)
		}
		m.Files = append(m.Files, release.File{Name: name, Bytes: n, SHA256: hex.EncodeToString(sum.Sum(nil))})
	}
	return nil
}

// Keys sign a release.
type Keys struct {
	Release ed25519.PrivateKey
	// Policy signs what the kernel image is measured as, so that nodes with sealed disks open them under it. Without it, or in an image that was built
	// without room for the signature, they do not.
	Policy *ecdsa.PrivateKey
	// SecureBoot signs the kernel image for firmware. Without it, machines with Secure Boot do not start the release, and nodes on them refuse it.
	SecureBoot *secureboot.Signer
}

// Write signs what a folder holds and writes it as one file, whole or not at all. The folder is left as it is.
func Write(path, dir string, keys Keys) (release.Manifest, error) {
	open := plain(dir)
	if keys.Policy != nil || keys.SecureBoot != nil {
		signed := sync.OnceValues(func() ([]byte, error) {
			built, err := os.ReadFile(filepath.Join(dir, release.Kernel))
			if err != nil {
				return nil, err
			}
			return SignKernel(built, keys)
		})
		open = func(name string) (io.ReadCloser, error) {
			if name != release.Kernel {
				return plain(dir)(name)
			}
			image, err := signed()
			return io.NopCloser(bytes.NewReader(image)), err
		}
	}
	m, err := describe(dir, open)
	if err != nil {
		return m, err
	}
	envelope, err := release.Sign(m, keys.Release)
	if err != nil {
		return m, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return m, fmt.Errorf("write release: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := release.Write(f, envelope, m, open); err != nil {
		return m, err
	}
	if err := errors.Join(f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return m, fmt.Errorf("write release: %w", err)
	}
	return m, os.Rename(f.Name(), path)
}

// SignKernel returns a copy of a kernel image with the signatures that there are keys for. That of what it is measured as comes first: it lies within the
// image, so firmware's is over it too. The other way round it would change what firmware has to find unchanged.
func SignKernel(built []byte, keys Keys) ([]byte, error) {
	image := bytes.Clone(built)
	if keys.Policy != nil {
		if err := signPolicy(image, keys.Policy); err != nil {
			return nil, fmt.Errorf("sign %s: %w", release.Kernel, err)
		}
	}
	if keys.SecureBoot == nil {
		return image, nil
	}
	signed, err := keys.SecureBoot.SignProgram(image)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", release.Kernel, err)
	}
	return signed, nil
}

// signPolicy puts the signature of what an image is measured as into it.
func signPolicy(image []byte, key *ecdsa.PrivateKey) error {
	values, err := pcr.Predict(bytes.NewReader(image))
	if err != nil {
		return err
	}
	s, err := pcr.Sign(values, key)
	if err != nil {
		return err
	}
	return pcr.Attach(image, []pcr.Signature{s})
}
