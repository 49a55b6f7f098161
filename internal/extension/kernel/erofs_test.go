package kernel

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
)

// blockBytes is the block size of the test's images.
const blockBytes = 4096

// node is a file, or a directory if it has children.
type node struct {
	name     string
	data     []byte
	children []*node

	nid, block uint32
}

// erofs makes a file system of a directory, without compression, links or owners (Documentation/filesystems/erofs.rst; fs/erofs/erofs_fs.h of Linux 6.12):
// a superblock, a block of compact inodes, and the content of each in blocks of its own.
func erofs(root *node) []byte {
	all := []*node{root}
	for i := 0; i < len(all); i++ {
		all[i].nid = uint32(i + 1) // inode 0 is left out: who sees it takes it for none
		all = append(all, all[i].children...)
	}
	le := binary.LittleEndian
	out := make([]byte, 2*blockBytes)
	parent := map[*node]*node{root: root}
	for _, n := range all {
		for _, c := range n.children {
			parent[c] = n
		}
	}
	for _, n := range all {
		mode := uint16(0o100644)
		if n.children != nil {
			n.data, mode = directory(n, parent[n]), 0o040755
		}
		n.block = uint32(len(out) / blockBytes)
		inode := out[blockBytes+32*n.nid:]
		le.PutUint16(inode[4:], mode)
		le.PutUint16(inode[6:], uint16(2+len(n.children)))
		le.PutUint32(inode[8:], uint32(len(n.data)))
		le.PutUint32(inode[16:], n.block)
		le.PutUint32(inode[20:], n.nid)
		out = append(out, n.data...)
		out = append(out, make([]byte, (blockBytes-len(n.data)%blockBytes)%blockBytes)...)
	}
	super := out[1024:]
	le.PutUint32(super, 0xe0f5e1e2) // EROFS_SUPER_MAGIC_V1
	super[12] = 12                  // the block size's logarithm
	le.PutUint16(super[14:], uint16(root.nid))
	le.PutUint64(super[16:], uint64(len(all)))
	le.PutUint32(super[36:], uint32(len(out)/blockBytes))
	le.PutUint32(super[40:], 1) // the block of inodes
	return out
}

// directory is the content of a directory, of one block: entries by name, and behind them the names.
func directory(n, parent *node) []byte {
	entries := append([]*node{{name: ".", children: n.children, nid: n.nid}, {name: "..", children: parent.children, nid: parent.nid}}, n.children...)
	slices.SortFunc(entries, func(a, b *node) int { return strings.Compare(a.name, b.name) })
	var list, names bytes.Buffer
	for _, e := range entries {
		kind := uint8(1)
		if e.children != nil {
			kind = 2
		}
		entry := make([]byte, 12)
		binary.LittleEndian.PutUint64(entry, uint64(e.nid))
		binary.LittleEndian.PutUint16(entry[8:], uint16(12*len(entries)+names.Len()))
		entry[10] = kind
		list.Write(entry)
		names.WriteString(e.name)
	}
	return append(list.Bytes(), names.Bytes()...)
}

// TestErofs holds the test's own images to what can be said without a kernel.
func TestErofs(t *testing.T) {
	image := erofs(&node{children: []*node{{name: "b", data: []byte("text")}, {name: "a", children: []*node{{name: "c", data: make([]byte, 5000)}}}}})
	if len(image)%blockBytes != 0 || binary.LittleEndian.Uint32(image[1024:]) != 0xe0f5e1e2 || !bytes.Contains(image, []byte("...ab")) {
		t.Errorf("an image of %d bytes", len(image))
	}
}
