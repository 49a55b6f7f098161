package cpio

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

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
	a := New(&out)
	from := strings.NewReader("1234567 and what is behind it")
	if err := errors.Join(a.Add("/a/b", 0o644, []byte("x")), a.AddFrom("/a/from", 0o600, from, 7), a.AddTree("/a/tree", source), a.Close()); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"a": "40755 ", "a/b": "100644 x", "a/from": "100600 1234567", "a/tree": "40755 ",
		"a/tree/deep": "40755 ", "a/tree/deep/run": "100755 12345",
	}
	if diff := cmp.Diff(want, entries(t, out.Bytes())); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if err := New(io.Discard).AddFrom("/short", 0o600, strings.NewReader("123"), 4); !errors.Is(err, io.EOF) {
		t.Errorf("a reader that ends too early: %v", err)
	}
	if err := New(io.Discard).AddFrom("/large", 0o600, strings.NewReader(""), 1<<32); err == nil || !strings.Contains(err.Error(), "4294967295") {
		t.Errorf("a file that is too large for the format: %v", err)
	}
}
