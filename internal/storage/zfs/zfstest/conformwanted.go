package zfstest

import (
	"bytes"
	"testing"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// testReceiveWanted: only what was asked for is received, and of another stream nothing comes.
func testReceiveWanted(t *testing.T, b bench) {
	b.must(b.Create(b.ctx, b.Name("p"), zfs.CreateOptions{Properties: map[string]string{"atime": "off"}}))
	b.create("above", "above/r")
	b.write("p", "f", 3000)
	b.snapshot("p@1")
	b.must(b.Bookmark(b.ctx, b.Name("p@1"), b.Name("p#1")))
	b.write("p", "g", 3000)
	b.snapshot("p@2")
	one, two := b.get("p@1").GUID, b.get("p@2").GUID
	full, step := b.of("p@1", ""), b.of("p@2", "p#1")
	packed := b.stream(zfs.SendSpec{Snapshot: b.Name("p@1"), Properties: true})
	receive := func(stream []byte, want zfs.StreamWanted) error {
		o := zfs.ReceiveSpec{Name: b.Name("above"), Force: true, Want: &want}
		return b.Receive(b.ctx, o, bytes.NewReader(stream))
	}
	b.is("a package", receive(packed, zfs.StreamWanted{Kind: zfs.Filesystem, To: one}), zfs.ErrInvalid)
	b.is("another snapshot", receive(full, zfs.StreamWanted{Kind: zfs.Filesystem, To: two}), zfs.ErrInvalid)
	b.is("another kind", receive(full, zfs.StreamWanted{Kind: zfs.Volume, To: one}), zfs.ErrInvalid)
	b.is("a step", receive(step, zfs.StreamWanted{Kind: zfs.Filesystem, To: two}), zfs.ErrInvalid)
	b.is("nothing", receive(nil, zfs.StreamWanted{Kind: zfs.Filesystem, To: one}), zfs.ErrBadStream)
	b.get("above/r")
	told := ""
	b.must(receive(full, zfs.StreamWanted{Kind: zfs.Filesystem, To: one, Found: func(h zfs.StreamHead) { told = h.Name }}))
	if told != b.Name("p@1") {
		t.Errorf("told of %q, want %s", told, b.Name("p@1"))
	}
	b.must(receive(step, zfs.StreamWanted{Kind: zfs.Filesystem, From: one, To: two})) // a bookmark has the snapshot's GUID
	b.equal("p@2", "above@2")
	b.get("above/r")
	b.must(b.Receive(b.ctx, zfs.ReceiveSpec{
		Name: b.Name("packed"), Want: &zfs.StreamWanted{Kind: zfs.Filesystem, To: one, Package: true},
	}, bytes.NewReader(packed)))
	b.equal("p@1", "packed@1")
}
