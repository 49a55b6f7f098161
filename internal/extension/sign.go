package extension

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/cyvive/cyvive/internal/release"
)

// ErrMalformed is for what is no extension, or not all of one. Further refusals are release.ErrUntrusted and release.ErrAltered.
var ErrMalformed = errors.New("not a whole extension")

// Envelope is the name of the first file.
const Envelope = "extension.dsse.json"

func form() release.Form {
	return release.Form{
		Name: "extension", PayloadType: "application/vnd.cyvive.extension.v1+json", Envelope: Envelope, Malformed: ErrMalformed,
	}
}

// Sign returns the envelope of a manifest.
func Sign(m Manifest, key ed25519.PrivateKey) ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("sign manifest: %w", err)
	}
	payload, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("sign manifest: %w", err)
	}
	return form().Sign(payload, key)
}

// Verify returns the manifest in an envelope that one of the keys has signed. The error is ErrMalformed or release.ErrUntrusted.
func Verify(data []byte, keys []ed25519.PublicKey) (Manifest, error) {
	payload, err := form().Verify(data, keys)
	if err != nil {
		return Manifest{}, err
	}
	m, err := ParseManifest(payload)
	if err != nil {
		return Manifest{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return m, nil
}

// Write writes the file of an extension, as release.Write does that of a release.
func Write(w io.Writer, envelope []byte, m Manifest, open func(name string) (io.ReadCloser, error)) error {
	return form().Write(w, envelope, m.Files, open)
}

// Reader is an extension that is being read. It is not for concurrent use.
type Reader struct {
	Manifest Manifest
	// Envelope is the signed manifest as it came.
	Envelope []byte
	archive  *release.Archive
}

// Open reads and verifies the manifest at the beginning of an extension, and nothing behind it. The error is ErrMalformed or release.ErrUntrusted.
func Open(r io.Reader, keys []ed25519.PublicKey) (*Reader, error) {
	a, err := form().Open(r)
	if err != nil {
		return nil, err
	}
	m, err := Verify(a.Envelope, keys)
	if err != nil {
		return nil, err
	}
	return &Reader{Manifest: m, Envelope: a.Envelope, archive: a}, nil
}

// Extract reads all parts, each into what create returns for it. What was written is the extension only when Extract returns nil. The error is
// ErrMalformed, release.ErrAltered, or create's or the writer's own. It closes what create returned.
func (r *Reader) Extract(create func(release.File) (io.WriteCloser, error)) error {
	return r.archive.Extract(r.Manifest.Files, create)
}
