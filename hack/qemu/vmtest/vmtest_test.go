package vmtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
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
	tree := &moduleTree{dir: "/m", needs: needs, files: files, builtin: map[string]bool{"virtio_pci": true}}
	got, err := tree.closure([]string{"virtio_pci", "virtio-net", "erofs", "lz4"})
	want := []string{"kernel/net/virtio-net.ko", "kernel/lib/crc.ko", "kernel/lib/lz4.ko", "kernel/fs/erofs/erofs.ko"}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if _, err := tree.closure([]string{"missing"}); err == nil {
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
		tree := &moduleTree{needs: needs, files: files}
		for name := range files {
			if order, err := tree.closure([]string{name}); err != nil || len(order) == 0 {
				t.Errorf("%q: closure of %q: %v, %v", text, name, order, err)
			}
		}
	})
}

// entries reads an archive back: name → mode and content.
func entries(t *testing.T, data []byte) map[string]string {
	t.Helper()
	found := map[string]string{}
	for {
		if string(data[:6]) != "070701" {
			t.Fatalf("magic: got %q", data[:6])
		}
		field := func(i int) int {
			n, err := strconv.ParseUint(string(data[6+8*i:14+8*i]), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			return int(n)
		}
		aligned := func(n int) int { return (n + 3) &^ 3 }
		mode, size, nameSize := field(1), field(6), field(11)
		name := string(data[110 : 110+nameSize-1])
		data = data[aligned(110+nameSize):]
		if name == "TRAILER!!!" {
			return found
		}
		found[name] = strconv.FormatInt(int64(mode), 8) + " " + string(data[:size])
		data = data[aligned(size):]
	}
}

func TestArchive(t *testing.T) {
	source := t.TempDir()
	if err := os.MkdirAll(filepath.Join(source, "deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(source, "deep", "run"), []byte("12345"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("run", filepath.Join(source, "deep", "link")); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	a := newArchive(&out)
	if err := errors.Join(a.add("/a/b", 0o644, []byte("x")), a.addTree("/a/tree", source), a.close()); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"a": "40755 ", "a/b": "100644 x", "a/tree": "40755 ",
		"a/tree/deep": "40755 ", "a/tree/deep/run": "100755 12345",
	}
	if diff := cmp.Diff(want, entries(t, out.Bytes())); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestFollower(t *testing.T) {
	// The writer ends between the question and the read: what it wrote counts.
	file, w := io.Pipe()
	go func() {
		_, _ = w.Write([]byte("late"))
		_ = w.Close()
	}()
	f := &follower{ctx: t.Context(), file: file, alive: func() bool { return false }}
	if got, err := io.ReadAll(f); err != nil || string(got) != "late" {
		t.Errorf("got %q, %v", got, err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("too long"))
	f = &follower{ctx: ctx, file: strings.NewReader(""), alive: func() bool { return true }}
	if _, err := f.Read(make([]byte, 1)); err == nil || err.Error() != "too long" {
		t.Errorf("got %v, want the context's cause", err)
	}
}
