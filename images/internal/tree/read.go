package tree

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
)

// AddTar adds the entries of a tar archive that WriteTar wrote.
func (t *Tree) AddTar(r io.Reader) error {
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read tree archive: %w", err)
		}
		if err := t.addHeader(Clean(h.Name), h, in); err != nil {
			return err
		}
	}
}
