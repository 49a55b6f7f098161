package install

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/cyvive/cyvive/internal/machined/boot/verity"
)

// The hash tree is that of dm-verity, version 1 (kernel documentation, admin-guide/device-mapper/verity): a hash is the SHA-256 of salt and block;
// hashes fill blocks, 128 in each, and those are hashed in turn. The levels follow the superblock, the top one first.
const (
	blockBytes      = verity.BlockBytes
	hashesPerBlock  = blockBytes / sha256.Size
	maxTreeBlocks   = 1 << 20
	treeStartBlocks = 1 // the superblock
)

// ErrDamaged is a source that is not what its root hash says.
var ErrDamaged = errors.New("it is damaged")

// tree is a hash tree that leads to its root hash.
type tree struct {
	salt   []byte
	blocks int64 // of data
	// all is superblock and tree as they lie on the disk, leaves the hashes of data blocks in them.
	all, leaves []byte
}

// readTree reads a hash tree and checks it.
func readTree(r io.Reader, rootHash string, limit int64) (tree, error) {
	head := make([]byte, blockBytes)
	if _, err := io.ReadFull(r, head); err != nil {
		return tree{}, fmt.Errorf("read hash tree: %w", err)
	}
	s, err := verity.ParseSuperblock(head)
	if err != nil {
		return tree{}, fmt.Errorf("read hash tree: %w: %w", ErrDamaged, err)
	}
	levels := levelBlocks(int64(s.DataBlocks))
	total := int64(treeStartBlocks)
	for _, n := range levels {
		total += n
	}
	if total > maxTreeBlocks || total*blockBytes > limit {
		return tree{}, fmt.Errorf("read hash tree: %w: %d blocks are more than fit into %d bytes", ErrDamaged, total, limit)
	}
	t := tree{salt: s.Salt, blocks: int64(s.DataBlocks), all: make([]byte, total*blockBytes)}
	copy(t.all, head)
	if _, err := io.ReadFull(r, t.all[blockBytes:]); err != nil {
		return tree{}, fmt.Errorf("read hash tree: %w", err)
	}
	return t, t.check(levels, rootHash)
}

// levelBlocks is how many blocks each level has, the top one first.
func levelBlocks(blocks int64) []int64 {
	var levels []int64
	for n := blocks; n > 1; {
		n = (n + hashesPerBlock - 1) / hashesPerBlock
		levels = append([]int64{n}, levels...)
	}
	return levels
}

// check follows the hashes from the root down, and finds the leaves.
func (t *tree) check(levels []int64, rootHash string) error {
	root, err := hex.DecodeString(rootHash)
	if err != nil || len(root) != sha256.Size {
		return fmt.Errorf("check hash tree: root hash %q is not 64 hexadecimal digits", rootHash)
	}
	above, rest := root, t.all[blockBytes:]
	for level, n := range levels {
		here := rest[:n*blockBytes]
		for i := range n {
			if !bytes.Equal(t.hash(here[i*blockBytes:][:blockBytes]), above[i*sha256.Size:][:sha256.Size]) {
				return fmt.Errorf("check hash tree: %w: block %d of level %d does not lead to root hash %s", ErrDamaged, i, len(levels)-1-level, rootHash)
			}
		}
		above, rest = here, rest[n*blockBytes:]
	}
	t.leaves = above
	return nil
}

func (t *tree) hash(block []byte) []byte {
	h := sha256.New()
	h.Write(t.salt)
	h.Write(block)
	return h.Sum(nil)
}

// checked is the data of a tree, read from a source: a block that does not match its hash is an error and is not returned, and so is a source that
// ends too early.
type checked struct {
	from io.Reader
	tree *tree
	next int64 // block
	rest []byte
	buf  [blockBytes]byte
}

// Read implements io.Reader.
func (c *checked) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		if c.next == c.tree.blocks {
			return 0, io.EOF
		}
		if _, err := io.ReadFull(c.from, c.buf[:]); err != nil {
			return 0, fmt.Errorf("read block %d of the root: %w", c.next, unexpected(err))
		}
		if !bytes.Equal(c.tree.hash(c.buf[:]), c.tree.leaves[c.next*sha256.Size:][:sha256.Size]) {
			return 0, fmt.Errorf("read block %d of the root: %w: it does not match its hash", c.next, ErrDamaged)
		}
		c.next++
		c.rest = c.buf[:]
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// unexpected has the end of a file be an error in the middle of something.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
