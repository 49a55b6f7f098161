package modules

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestClosure(t *testing.T) {
	needs, files, err := parseDependencies(strings.NewReader(
		"kernel/fs/erofs/erofs.ko: kernel/lib/lz4.ko kernel/lib/crc.ko\n" +
			"kernel/lib/lz4.ko: kernel/lib/crc.ko\nkernel/lib/crc.ko:\nkernel/net/virtio-net.ko:\n"))
	if err != nil {
		t.Fatal(err)
	}
	tree := &Tree{Dir: "/m", needs: needs, files: files, builtin: map[string]bool{"virtio_pci": true}}
	got, err := tree.Closure([]string{"virtio_pci", "virtio-net", "erofs", "lz4"})
	want := []string{"kernel/net/virtio-net.ko", "kernel/lib/crc.ko", "kernel/lib/lz4.ko", "kernel/fs/erofs/erofs.ko"}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if _, err := tree.Closure([]string{"missing"}); err == nil {
		t.Error("a module that is not there: want an error")
	}
	if _, _, err := parseDependencies(strings.NewReader("no colon\n")); err == nil {
		t.Error("a line without a colon: want an error")
	}
}

func FuzzParseDependencies(f *testing.F) {
	f.Add("a/b.ko: c.ko d.ko\nc.ko:\nd.ko: c.ko\n")
	f.Add("a.ko: b.ko\nb.ko: a.ko\n")
	f.Fuzz(func(t *testing.T, text string) {
		needs, files, err := parseDependencies(strings.NewReader(text))
		if err != nil {
			return
		}
		tree := &Tree{needs: needs, files: files}
		for name := range files {
			if order, err := tree.Closure([]string{name}); err != nil || len(order) == 0 {
				t.Errorf("%q: closure of %q: %v, %v", text, name, order, err)
			}
		}
	})
}
