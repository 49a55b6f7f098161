package install

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// TestTreeSizes holds the reading of trees against another library's making of them, for sizes around the changes of their form.
func TestTreeSizes(t *testing.T) {
	for _, blocks := range []int{2, 127, 128, 129, 255, 300} {
		root := make([]byte, blocks*blockBytes)
		for i := range root {
			root[i] = byte(i * i >> 9)
		}
		hash, data := makeTree(t, root)
		tree, err := readTree(bytes.NewReader(data), hash, mib)
		if err != nil {
			t.Errorf("%d blocks: %v", blocks, err)
			continue
		}
		got, err := io.ReadAll(&checked{from: bytes.NewReader(root), tree: &tree})
		if err != nil || !bytes.Equal(got, root) {
			t.Errorf("%d blocks: read %d bytes, %v", blocks, len(got), err)
		}
		root[len(root)-1] ^= 1
		if _, err := io.ReadAll(&checked{from: bytes.NewReader(root), tree: &tree}); !errors.Is(err, ErrDamaged) {
			t.Errorf("%d blocks, the last bit flipped: %v", blocks, err)
		}
		if _, err := readTree(bytes.NewReader(data), hash, int64(len(tree.all))-1); !errors.Is(err, ErrDamaged) {
			t.Errorf("%d blocks: a tree that is too large: %v", blocks, err)
		}
	}
}
