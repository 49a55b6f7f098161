package zfstest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

func testSend(t *testing.T, b bench) {
	b.create("p")
	b.write("p", "f", 3000)
	b.snapshot("p@1")
	b.write("p", "g", 5000)
	b.snapshot("p@2")
	b.must(b.receive("r", b.of("p@1", "")))
	b.must(b.receive("r", b.of("p@2", "p@1")))
	b.equal("p@1", "r@1")
	b.equal("p@2", "r@2")
	for _, name := range []string{"1", "2"} {
		sent, received := b.get("p@"+name), b.get("r@"+name)
		if sent.GUID != received.GUID || !sent.Created.Equal(received.Created) {
			t.Errorf("sent %+v, received %+v", sent, received)
		}
	}
	if w := b.get("r", "written").Properties["written"]; w.Value != "0" {
		t.Errorf("written after a receive: %+v", w)
	}
	full, err := b.Estimate(b.ctx, zfs.SendSpec{Snapshot: b.Name("p@2")})
	b.must(err)
	step, err := b.Estimate(b.ctx, zfs.SendSpec{Snapshot: b.Name("p@2"), From: b.Name("p@1")})
	b.must(err)
	if full < 8000 || step < 5000 || step >= full {
		t.Errorf("estimates: %d for the whole, %d for the step", full, step)
	}
	_, err = b.read(zfs.SendSpec{Snapshot: b.Name("p@1"), From: b.Name("p@2")})
	b.is("backwards", err, zfs.ErrInvalid)
	_, err = b.read(zfs.SendSpec{Snapshot: b.Name("p@no")})
	b.is("none", err, zfs.ErrNotExist)
}

func testSendFromBookmark(t *testing.T, b bench) {
	b.create("p")
	b.write("p", "f", 3000)
	b.snapshot("p@1")
	b.must(b.receive("r", b.of("p@1", "")))
	b.must(b.Bookmark(b.ctx, b.Name("p@1"), b.Name("p#m")))
	b.must(b.Destroy(b.ctx, b.Name("p@1")))
	b.write("p", "g", 3000)
	b.snapshot("p@2")
	b.must(b.receive("r", b.of("p@2", "p#m")))
	b.equal("p@2", "r@2")
	b.is("base is gone", second(b.read(zfs.SendSpec{Snapshot: b.Name("p@2"), From: b.Name("p@1")})), zfs.ErrNotExist)
}

func second[T any](_ T, err error) error { return err }

func testReceiveRefused(_ *testing.T, b bench) {
	b.create("p")
	b.snapshot("p@1")
	b.write("p", "f", 100)
	b.snapshot("p@2")
	b.write("p", "g", 100)
	b.snapshot("p@3")
	full, step := b.of("p@1", ""), b.of("p@3", "p@2")
	b.is("incremental into nothing", b.receive("r", step), zfs.ErrNotExist)
	b.is("parent is missing", b.receive("no/r", full), zfs.ErrNotExist)
	b.must(b.receive("r", full))
	b.is("full into one that is there", b.receive("r", full), zfs.ErrExist)
	b.is("base is missing", b.receive("r", step), zfs.ErrNoBase)
	b.must(b.Destroy(b.ctx, b.Name("r@1")))
	b.snapshot("r@2")
	b.is("base is missing, name is there", b.receive("r", b.of("p@2", "p@1")), zfs.ErrExist, zfs.ErrNoBase)
	b.is("full and force, with a snapshot there", b.Receive(b.ctx, zfs.ReceiveSpec{Name: b.Name("r"), Force: true}, bytes.NewReader(full)), zfs.ErrExist)
}

func testReceiveModified(_ *testing.T, b bench) {
	b.create("p")
	b.snapshot("p@1")
	b.write("p", "f", 100)
	b.snapshot("p@2")
	b.must(b.receive("r", b.of("p@1", "")))
	// A later snapshot of the same contents is not in the way.
	b.snapshot("r@own")
	b.must(b.receive("r", b.of("p@2", "p@1")))
	b.write("p", "g", 100)
	b.snapshot("p@3")
	b.write("r", "x", 100)
	b.is("written to", b.receive("r", b.of("p@3", "p@2")), zfs.ErrModified)
	b.snapshot("r@later")
	b.is("written to, with a snapshot", b.receive("r", b.of("p@3", "p@2")), zfs.ErrModified)
}

func testReceiveTwice(_ *testing.T, b bench) {
	b.create("p")
	b.snapshot("p@1")
	b.write("p", "f", 100)
	b.snapshot("p@2")
	b.must(b.receive("r", b.of("p@1", "")))
	b.must(b.receive("r", b.of("p@2", "p@1")))
	b.must(b.receive("r", b.of("p@2", "p@1"))) // it is there already
	b.equal("p@2", "r@2")
}

func testReceiveForce(_ *testing.T, b bench) {
	b.create("p", "r", "r/c")
	b.write("p", "f", 100)
	b.snapshot("p@1")
	b.write("p", "g", 100)
	b.snapshot("p@2")
	force := zfs.ReceiveSpec{Name: b.Name("r"), Force: true}
	b.must(b.Receive(b.ctx, force, bytes.NewReader(b.of("p@1", "")))) // over one without snapshots; its children stay
	b.get("r/c")
	b.write("r", "x", 100)
	b.must(b.Receive(b.ctx, force, bytes.NewReader(b.of("p@2", "p@1"))))
	b.equal("p@2", "r")
	b.write("r", "x", 100)
	b.snapshot("r@own")
	b.write("p", "h", 100)
	b.snapshot("p@3")
	b.is("a later snapshot", b.Receive(b.ctx, force, bytes.NewReader(b.of("p@3", "p@2"))), zfs.ErrModified, zfs.ErrNoBase, zfs.ErrHasDependents)
	b.get("r@own") // no snapshot is destroyed
}

func testReceiveProperties(t *testing.T, b bench) {
	b.must(b.Create(b.ctx, b.Name("p"), zfs.CreateOptions{Properties: map[string]string{"atime": "off", "recordsize": "65536", "dev.cyvive:a": "1"}}))
	b.snapshot("p@1")
	o := zfs.ReceiveSpec{
		Name: b.Name("r"), Exclude: []string{"recordsize"},
		Override: map[string]string{"readonly": "on", "canmount": "off", "mountpoint": "none", "dev.cyvive:b": "2"},
	}
	b.must(b.Receive(b.ctx, o, bytes.NewReader(b.stream(zfs.SendSpec{Snapshot: b.Name("p@1"), Properties: true}))))
	got := b.get("r", "readonly", "canmount", "mountpoint", "atime", "recordsize", "dev.cyvive:a", "dev.cyvive:b").Properties
	for name, want := range map[string]zfs.Property{
		"readonly": {Value: "on", Source: zfs.SourceLocal}, "canmount": {Value: "off", Source: zfs.SourceLocal},
		"mountpoint": {Value: "none", Source: zfs.SourceLocal}, "atime": {Value: "off", Source: zfs.SourceReceived},
		"dev.cyvive:a": {Value: "1", Source: zfs.SourceReceived}, "dev.cyvive:b": {Value: "2", Source: zfs.SourceLocal},
	} {
		if got[name] != want {
			t.Errorf("%s: got %+v, want %+v", name, got[name], want)
		}
	}
	if got["recordsize"].Value != "131072" {
		t.Errorf("recordsize, which was excluded: %+v", got["recordsize"])
	}
	b.write("p", "f", 100)
	b.snapshot("p@2")
	b.must(b.Receive(b.ctx, o, bytes.NewReader(b.stream(zfs.SendSpec{Snapshot: b.Name("p@2"), From: b.Name("p@1"), Properties: true}))))
}

func testDamagedStream(_ *testing.T, b bench) {
	b.create("p")
	b.write("p", "f", 300_000)
	b.snapshot("p@1")
	full := b.of("p@1", "")
	b.is("nothing", b.receive("r", nil), zfs.ErrBadStream)
	b.is("something else", b.receive("r", bytes.Repeat([]byte("no stream "), 400)), zfs.ErrBadStream)
	b.is("cut", b.receive("r", full[:len(full)/2]), zfs.ErrBadStream)
	damaged := bytes.Clone(full)
	damaged[len(damaged)/2] ^= 0xff
	b.is("damaged", b.receive("r", damaged), zfs.ErrBadStream)
	_, err := b.List(b.ctx, zfs.Query{Roots: []string{b.Name("r")}, Kinds: []zfs.Kind{zfs.Filesystem}})
	b.is("what is left", err, zfs.ErrNotExist)
	b.must(b.receive("r", full))
	b.equal("p@1", "r@1")
}

func testContextEnds(t *testing.T, b bench) {
	b.create("p")
	b.write("p", "f", 300_000)
	b.snapshot("p@1")
	ctx, cancel := context.WithCancel(b.ctx)
	stream, err := b.Send(ctx, zfs.SendSpec{Snapshot: b.Name("p@1")})
	b.must(err)
	if _, err := io.ReadFull(stream, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	cancel()
	_, err = io.Copy(io.Discard, stream)
	_ = stream.Close()
	// A small stream may lie in a pipe as a whole already; what must not be is that a cut one looks whole.
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, zfs.ErrBadStream) {
		t.Logf("reading after the end of the context: %v", err)
	}
	early, err := b.Send(b.ctx, zfs.SendSpec{Snapshot: b.Name("p@1")})
	b.must(err)
	b.must(early.Close())
	b.must(b.Destroy(b.ctx, b.Name("p@1"))) // nothing sends it any more
	if err := b.Create(ctx, b.Name("late"), zfs.CreateOptions{}); err == nil {
		t.Error("created after the end of the context")
	}
}
