package logring

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

func TestWriterTurns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	w, err := Open(path, 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"12345\n", "678\n", "9\n", "a line longer than the limit\n", "z\n"} {
		if n, err := w.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatalf("write %q = %d, %v", s, n, err)
		}
	}
	check := func(path, want string) {
		t.Helper()
		if got, err := os.ReadFile(path); string(got) != want || err != nil {
			t.Errorf("%s = %q, %v; want %q", path, got, err, want)
		}
	}
	check(path, "z\n")
	check(path+".1", "a line longer than the limit\n")
	if err := errors.Join(w.Flush(), w.Close(), w.Close()); err != nil {
		t.Error(err)
	}
	if err := w.Flush(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("flush after close: %v, want %v", err, os.ErrClosed)
	}
	if _, err := w.Write([]byte("x")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("write after close: %v, want %v", err, os.ErrClosed)
	}
	// A new writer goes on where the old one was.
	if w, err = Open(path, 10); err != nil {
		t.Fatal(err)
	}
	w.Write([]byte("12345678\n"))
	check(path, "12345678\n")
	check(path+".1", "z\n")
}

// TestTurnIsTriedAgain: a ring that has no descriptor for its next file, for a while,
// goes on afterwards.
func TestTurnIsTriedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	w, err := Open(path, 10)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	w.Write([]byte("12345678\n"))
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 0
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	_, err = w.Write([]byte("lost\n"))
	if restored := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); restored != nil {
		t.Fatal(restored)
	}
	if !errors.Is(err, syscall.EMFILE) {
		t.Errorf("without a descriptor: %v, want %v", err, syscall.EMFILE)
	}
	if _, err := w.Write([]byte("kept\n")); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]string{path: "kept\n", path + ".1": "12345678\n"} {
		if got, err := os.ReadFile(name); string(got) != want || err != nil {
			t.Errorf("%s = %q, %v; want %q", name, got, err, want)
		}
	}
}

func TestWriterKeepsItsLimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	const limit = 4096
	w, err := Open(path, limit)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 500 {
				fmt.Fprintf(w, "writer %d line %03d\n", i, j)
			}
		})
	}
	wg.Wait()
	for _, p := range []string{path, path + ".1"} {
		raw, err := os.ReadFile(p)
		if err != nil || len(raw) > limit || len(raw) == 0 {
			t.Fatalf("%s: %d bytes, %v; want 1 to %d", p, len(raw), err, limit)
		}
		for line := range bytes.Lines(raw) {
			if len(line) != len("writer 0 line 000\n") {
				t.Fatalf("%s: line %q is not whole", p, line)
			}
		}
	}
}

func TestOpenFails(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "no/dir/a.log"), 10); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("open without directory: %v, want %v", err, os.ErrNotExist)
	}
}
