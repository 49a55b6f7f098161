package release

import (
	"archive/tar"
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// envelopeName is the first file of a bundle.
const envelopeName = "release.dsse.json"

// Write writes a bundle. Each part is opened when its turn comes, and must have the size and the hash that the signed manifest says. The bytes
// depend on nothing else.
func Write(w io.Writer, envelope []byte, m Manifest, open func(name string) (io.ReadCloser, error)) error {
	t := tar.NewWriter(w)
	put := func(name string, size int64, from io.Reader) error {
		if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size, Format: tar.FormatUSTAR}); err != nil {
			return err
		}
		_, err := io.Copy(t, from)
		return err
	}
	if err := put(envelopeName, int64(len(envelope)), bytes.NewReader(envelope)); err != nil {
		return fmt.Errorf("write release: %w", err)
	}
	for _, f := range m.Files {
		if err := writePart(put, f, open); err != nil {
			return fmt.Errorf("write release: %s: %w", f.Name, err)
		}
	}
	if err := t.Close(); err != nil {
		return fmt.Errorf("write release: %w", err)
	}
	return nil
}

func writePart(put func(string, int64, io.Reader) error, f File, open func(string) (io.ReadCloser, error)) error {
	in, err := open(f.Name)
	if err != nil {
		return err
	}
	defer in.Close()
	sum := sha256.New()
	if err := put(f.Name, f.Bytes, io.TeeReader(in, sum)); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != f.SHA256 {
		return fmt.Errorf("its SHA-256 is %s, the manifest says %s", got, f.SHA256)
	}
	return nil
}

// Bundle is a release that is being read. It is not for concurrent use.
type Bundle struct {
	Manifest Manifest
	// Envelope is the signed manifest as it came.
	Envelope []byte
	tar      *tar.Reader
	from     io.Reader
}

// Open reads and verifies the manifest at the beginning of a bundle, and nothing behind it. The error is ErrMalformed or ErrUntrusted.
func Open(r io.Reader, keys []ed25519.PublicKey) (*Bundle, error) {
	t := tar.NewReader(r)
	h, err := t.Next()
	switch {
	case err != nil:
		return nil, fmt.Errorf("open release: %w: %w", ErrMalformed, err)
	case h.Name != envelopeName:
		return nil, fmt.Errorf("open release: %w: it begins with %.64q, want %s", ErrMalformed, h.Name, envelopeName)
	case h.Typeflag != tar.TypeReg || h.Size > 2*MaxManifestBytes:
		return nil, fmt.Errorf("open release: %w: %s is no regular file of at most %d bytes", ErrMalformed, envelopeName, 2*MaxManifestBytes)
	}
	data, err := io.ReadAll(t)
	if err != nil {
		return nil, fmt.Errorf("open release: %w: %s: %w", ErrMalformed, envelopeName, err)
	}
	m, err := Verify(data, keys)
	if err != nil {
		return nil, err
	}
	return &Bundle{Manifest: m, Envelope: data, tar: t, from: r}, nil
}

// Extract reads all parts, each into what create returns for its name, and checks them against the manifest. It reads to the end of the stream, so that
// whoever sends it has a say too: what was written is the release only when Extract returns nil. The error is ErrMalformed, ErrAltered, or create's or the
// writer's own. It closes what create returned.
func (b *Bundle) Extract(create func(File) (io.WriteCloser, error)) error {
	for _, f := range b.Manifest.Files {
		h, err := b.tar.Next()
		switch {
		case errors.Is(err, io.EOF):
			return fmt.Errorf("read release: %w: it ends before %s", ErrMalformed, f.Name)
		case err != nil:
			return fmt.Errorf("read release: %w: before %s: %w", ErrMalformed, f.Name, err)
		case h.Name != f.Name || h.Typeflag != tar.TypeReg:
			return fmt.Errorf("read release: %w: %.64q comes where %s should", ErrMalformed, h.Name, f.Name)
		case h.Size != f.Bytes:
			return fmt.Errorf("read release: %w: %s has %d bytes, %d were signed", ErrAltered, f.Name, h.Size, f.Bytes)
		}
		if err := b.extract(f, create); err != nil {
			return fmt.Errorf("read release: %s: %w", f.Name, err)
		}
	}
	if h, err := b.tar.Next(); err == nil {
		return fmt.Errorf("read release: %w: %.64q is not part of a release", ErrMalformed, h.Name)
	} else if !errors.Is(err, io.EOF) {
		return fmt.Errorf("read release: %w: behind its parts: %w", ErrMalformed, err)
	}
	if _, err := io.Copy(io.Discard, source{b.from}); err != nil {
		return fmt.Errorf("read release: behind its parts: %w", err)
	}
	return nil
}

func (b *Bundle) extract(f File, create func(File) (io.WriteCloser, error)) (err error) {
	w, err := create(f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(w, sum), source{b.tar}); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != f.SHA256 {
		return fmt.Errorf("%w: its SHA-256 is %s, %s was signed", ErrAltered, got, f.SHA256)
	}
	return nil
}

// source tells the errors of a bundle's reader from those of what it is written to. The reader of a tar archive fails itself where the archive
// ends too early.
type source struct{ r io.Reader }

func (s source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return n, err
}
