package deb

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// Walk calls visit for every entry of the package's data archive, in the
// archive's order. The reader holds the content of a regular file and is
// valid until visit returns. An error of visit ends the walk.
func Walk(r io.Reader, visit func(*tar.Header, io.Reader) error) error {
	a, err := NewArchive(r)
	if err != nil {
		return err
	}
	for {
		name, _, err := a.Next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("find data archive: %w: no data.tar member", ErrFormat)
		}
		if err != nil {
			return err
		}
		if strings.HasPrefix(name, "data.tar") {
			return walkTar(name, a, visit)
		}
	}
}

func walkTar(name string, r io.Reader, visit func(*tar.Header, io.Reader) error) error {
	plain, err := Decompress(name, r)
	if err != nil {
		return err
	}
	defer plain.Close()
	t := tar.NewReader(plain)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if err := visit(h, t); err != nil {
			return err
		}
	}
}

// Decompress returns a reader of the plain bytes of r, chosen by the end of
// name: .xz, .zst, .gz, or none of them for bytes that are not compressed.
// Closing it does not close r.
func Decompress(name string, r io.Reader) (io.ReadCloser, error) {
	switch {
	case strings.HasSuffix(name, ".xz"):
		x, err := xz.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("decompress %s: %w", name, err)
		}
		return io.NopCloser(x), nil
	case strings.HasSuffix(name, ".zst"):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, fmt.Errorf("decompress %s: %w", name, err)
		}
		return z.IOReadCloser(), nil
	case strings.HasSuffix(name, ".gz"):
		g, err := gzip.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("decompress %s: %w", name, err)
		}
		return g, nil
	}
	return io.NopCloser(r), nil
}
