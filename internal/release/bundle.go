package release

import (
	"crypto/ed25519"
	"io"
)

// envelopeName is the first file of a bundle.
const envelopeName = "release.dsse.json"

// Write writes a bundle. Each part is opened when its turn comes, and must have the size and the hash that the signed manifest says. The bytes
// depend on nothing else.
func Write(w io.Writer, envelope []byte, m Manifest, open func(name string) (io.ReadCloser, error)) error {
	return form.Write(w, envelope, m.Files, open)
}

// Bundle is a release that is being read. It is not for concurrent use.
type Bundle struct {
	Manifest Manifest
	// Envelope is the signed manifest as it came.
	Envelope []byte
	archive  *Archive
}

// Open reads and verifies the manifest at the beginning of a bundle, and nothing behind it. The error is ErrMalformed or ErrUntrusted.
func Open(r io.Reader, keys []ed25519.PublicKey) (*Bundle, error) {
	a, err := form.Open(r)
	if err != nil {
		return nil, err
	}
	m, err := Verify(a.Envelope, keys)
	if err != nil {
		return nil, err
	}
	return &Bundle{Manifest: m, Envelope: a.Envelope, archive: a}, nil
}

// Extract reads all parts, each into what create returns for its name, and checks them against the manifest. It reads to the end of the stream, so that
// whoever sends it has a say too: what was written is the release only when Extract returns nil. The error is ErrMalformed, ErrAltered, or create's or the
// writer's own. It closes what create returned.
func (b *Bundle) Extract(create func(File) (io.WriteCloser, error)) error {
	return b.archive.Extract(b.Manifest.Files, create)
}
