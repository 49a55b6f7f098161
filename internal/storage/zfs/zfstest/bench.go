package zfstest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// bench is a target with the ways in which parts of the conformance test use it.
type bench struct {
	Target
	t   *testing.T
	ctx context.Context
}

func (b bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// is checks the class of an error.
func (b bench) is(what string, got error, want ...error) {
	b.t.Helper()
	for _, w := range want {
		if errors.Is(got, w) {
			return
		}
	}
	b.t.Errorf("%s: got %v, want one that is: %v", what, got, errors.Join(want...))
}

// create makes file systems.
func (b bench) create(names ...string) {
	b.t.Helper()
	for _, name := range names {
		b.must(b.Create(b.ctx, b.Name("%s", name), zfs.CreateOptions{}))
	}
}

// snapshot takes snapshots, of names such as a@s.
func (b bench) snapshot(names ...string) {
	b.t.Helper()
	whole := make([]string, len(names))
	for i, name := range names {
		whole[i] = b.Name("%s", name)
	}
	b.must(b.Snapshot(b.ctx, whole, nil))
}

// write writes a file of some size that does not compress.
func (b bench) write(name, file string, bytes int) {
	b.t.Helper()
	data := make([]byte, bytes)
	r := rand.New(rand.NewPCG(uint64(len(name)+len(file)), uint64(bytes)))
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	b.must(b.Write(b.ctx, b.Name("%s", name), file, data))
}

// get lists one dataset.
func (b bench) get(name string, properties ...string) zfs.Dataset {
	b.t.Helper()
	found := b.list(name, 0, properties...)
	for _, d := range found {
		if d.Name == b.Name("%s", name) {
			return d
		}
	}
	b.t.Fatalf("%s is not listed", name)
	return zfs.Dataset{}
}

func (b bench) list(name string, depth int, properties ...string) []zfs.Dataset {
	b.t.Helper()
	kinds := []zfs.Kind{zfs.Filesystem, zfs.Volume, zfs.Snapshot, zfs.Bookmark}
	found, err := b.List(b.ctx, zfs.Query{Roots: []string{b.Name("%s", name)}, Kinds: kinds, Depth: depth, Properties: properties})
	b.must(err)
	return found
}

// names lists the names below one, without the root's.
func (b bench) names(name string, depth int) []string {
	b.t.Helper()
	var names []string
	for _, d := range b.list(name, depth) {
		names = append(names, strings.TrimPrefix(d.Name, b.Root+"/"))
	}
	return names
}

// stream reads a stream to its end.
func (b bench) stream(s zfs.SendSpec) []byte {
	b.t.Helper()
	data, err := b.read(s)
	b.must(err)
	return data
}

func (b bench) read(s zfs.SendSpec) ([]byte, error) {
	r, err := b.Send(b.ctx, s)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}

// of is a stream of a snapshot, from another or nil.
func (b bench) of(to, from string) []byte {
	b.t.Helper()
	s := zfs.SendSpec{Snapshot: b.Name("%s", to), Large: true}
	if from != "" {
		s.From = b.Name("%s", from)
	}
	return b.stream(s)
}

// receive takes a stream into a file system.
func (b bench) receive(name string, data []byte) error {
	return b.Receive(b.ctx, zfs.ReceiveSpec{Name: b.Name("%s", name)}, bytes.NewReader(data))
}

// equal checks that two hold the same.
func (b bench) equal(one, other string) {
	b.t.Helper()
	x, err := b.Sum(b.ctx, b.Name("%s", one))
	b.must(err)
	y, err := b.Sum(b.ctx, b.Name("%s", other))
	b.must(err)
	if x != y {
		b.t.Errorf("%s holds %s, %s holds %s", one, x, other, y)
	}
}
