package release

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// Archive is a signed file whose envelope was read, and whose parts are to come. It is not for concurrent use.
type Archive struct {
	// Envelope is the signed manifest as it came. Nothing has verified it.
	Envelope []byte
	form     Form
	tar      *tar.Reader
	from     io.Reader
}

// Open reads the envelope at the beginning of a file of this kind, and nothing behind it. The error is Malformed.
func (f Form) Open(r io.Reader) (*Archive, error) {
	t := tar.NewReader(r)
	h, err := t.Next()
	switch {
	case err != nil:
		return nil, fmt.Errorf("open %s: %w: %w", f.Name, f.Malformed, err)
	case h.Name != f.Envelope:
		return nil, fmt.Errorf("open %s: %w: it begins with %.64q, want %s", f.Name, f.Malformed, h.Name, f.Envelope)
	case h.Typeflag != tar.TypeReg || h.Size > 2*MaxManifestBytes:
		return nil, fmt.Errorf("open %s: %w: %s is no regular file of at most %d bytes", f.Name, f.Malformed, f.Envelope, 2*MaxManifestBytes)
	}
	data, err := io.ReadAll(t)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w: %s: %w", f.Name, f.Malformed, f.Envelope, err)
	}
	return &Archive{Envelope: data, form: f, tar: t, from: r}, nil
}

// Extract reads all parts, each into what create returns for it, and checks them against what was signed. It reads to the end of the stream, so that
// whoever sends it has a say too: what was written counts only when Extract returns nil. The error is the form's Malformed, ErrAltered, or create's or the writer's own. It closes what create returned.
func (a *Archive) Extract(files []File, create func(File) (io.WriteCloser, error)) error {
	read := "read " + a.form.Name
	for _, f := range files {
		h, err := a.tar.Next()
		switch {
		case errors.Is(err, io.EOF):
			return fmt.Errorf("%s: %w: it ends before %s", read, a.form.Malformed, f.Name)
		case err != nil:
			return fmt.Errorf("%s: %w: before %s: %w", read, a.form.Malformed, f.Name, err)
		case h.Name != f.Name || h.Typeflag != tar.TypeReg:
			return fmt.Errorf("%s: %w: %.64q comes where %s should", read, a.form.Malformed, h.Name, f.Name)
		case h.Size != f.Bytes:
			return fmt.Errorf("%s: %w: %s has %d bytes, %d were signed", read, ErrAltered, f.Name, h.Size, f.Bytes)
		}
		if err := a.extract(f, create); err != nil {
			return fmt.Errorf("%s: %s: %w", read, f.Name, err)
		}
	}
	if h, err := a.tar.Next(); err == nil {
		return fmt.Errorf("%s: %w: %.64q is not part of %s", read, a.form.Malformed, h.Name, a.form.one())
	} else if !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w: behind its parts: %w", read, a.form.Malformed, err)
	}
	if _, err := io.Copy(io.Discard, source{a.from, a.form.Malformed}); err != nil {
		return fmt.Errorf("%s: behind its parts: %w", read, err)
	}
	return nil
}

func (a *Archive) extract(f File, create func(File) (io.WriteCloser, error)) (err error) {
	w, err := create(f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(w, sum), source{a.tar, a.form.Malformed}); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != f.SHA256 {
		return fmt.Errorf("%w: its SHA-256 is %s, %s was signed", ErrAltered, got, f.SHA256)
	}
	return nil
}

// source tells the errors of a file's reader from those of what it is written to. The reader of a tar archive fails itself where the archive
// ends too early.
type source struct {
	r         io.Reader
	malformed error
}

func (s source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %w", s.malformed, err)
	}
	return n, err
}
