package ringlog

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/machined/server"
)

// since reads on, and returns the text and the position behind it.
func since(t *testing.T, dir string, at Position, maxBytes int64, unended bool) (string, Position, bool) {
	t.Helper()
	data, next, missing, err := Source{Dir: dir}.Since("etcd", at, maxBytes, unended)
	if err != nil {
		t.Fatal(err)
	}
	return string(data), next, missing
}

// turn renames a ring's file as its writer does.
func turn(t *testing.T, path string) {
	t.Helper()
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
}

// TestSince goes through what a writer does between two reads.
func TestSince(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "etcd.log")
	var at Position
	expect := func(what string, unended bool, want string, wantMissing bool) {
		t.Helper()
		got, next, missing := since(t, dir, at, 1<<10, unended)
		if got != want || missing != wantMissing {
			t.Errorf("%s: got %q, missing %t; want %q, %t", what, got, missing, want, wantMissing)
		}
		at = next
	}
	expect("no file", false, "", false)
	write(t, path, "one\ntwo\nth")
	expect("a line that has not ended", false, "one\ntwo\n", false)
	expect("nothing new", false, "", false)
	write(t, path, "ree\n")
	expect("it has ended", false, "three\n", false)

	write(t, path, "four\nfi")
	turn(t, path)
	write(t, path, "ve\nsix\n")
	expect("a turn in a line", false, "four\nfive\nsix\n", false)
	turn(t, path)
	expect("a turn with nothing new", false, "", false)
	write(t, path, "seven\n")
	expect("behind it", false, "seven\n", false)

	for _, line := range []string{"lost\n", "eight\n", "nine\n"} {
		write(t, path, line)
		turn(t, path)
	}
	write(t, path, "ten\n")
	expect("more turns than files are kept", false, "nine\nten\n", true)
	expect("that is told once", false, "", false)

	write(t, path, "the end")
	expect("at the end", true, "the end", false)
	expect("after it", true, "", false)

	// A folder that was made anew, as the plane's is, gives files the numbers of old ones.
	if err := os.WriteFile(path, []byte("another beginning\n"+strings.Repeat("another line\n", 20)), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, _, missing := since(t, dir, at, 1<<10, false); !strings.Contains(got, "another beginning\n") || !missing {
		t.Errorf("another file of the same number: got %q, missing %t", got, missing)
	}
}

// TestSinceIsBounded: of much, the newest whole lines come, and what is left out is told.
func TestSinceIsBounded(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "etcd.log")
	write(t, path, strings.Repeat("old\n", 100))
	turn(t, path)
	write(t, path, "a line\nanother\nbegun")
	for maxBytes, want := range map[int64]string{
		5: "begun", // as much as is taken, and no end of a line in it
		// Nobody knows whether what comes first is a whole line.
		13: "", 14: "another\n", 20: "another\n", 24: "a line\nanother\n", 28: "old\na line\nanother\n",
	} {
		got, next, missing := since(t, dir, Position{}, maxBytes, false)
		if got != want || !missing {
			t.Errorf("%d bytes: got %q, missing %t; want %q", maxBytes, got, missing, want)
		}
		if again, _, missing := since(t, dir, next, maxBytes, false); again != "" || missing {
			t.Errorf("%d bytes: again %q, missing %t", maxBytes, again, missing)
		}
	}
	if err := os.Truncate(path, 1<<40); err != nil {
		t.Fatal(err)
	}
	if got, _, missing := since(t, dir, Position{}, 1<<10, false); len(got) != 1<<10 || !missing {
		t.Errorf("a file of a terabyte: got %d bytes, missing %t", len(got), missing)
	}
}

// TestSinceLosesNothing: however writes, turns and reads follow each other, the text
// comes whole and in its order, as long as no file leaves the ring before it was read.
func TestSinceLosesNothing(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	dir := t.TempDir()
	path := filepath.Join(dir, "etcd.log")
	var at Position
	var want, got strings.Builder
	for i := range 2000 {
		switch r.IntN(4) {
		case 0:
			if info, err := os.Stat(path); err == nil && inodeOf(info) == at.Inode {
				turn(t, path)
			}
		case 1:
			text, next, missing := since(t, dir, at, 1<<20, false)
			if missing {
				t.Fatalf("step %d: something is missing", i)
			}
			got.WriteString(text)
			at = next
		default:
			text := fmt.Sprintf("line %d\n", i)[r.IntN(3):]
			if r.IntN(3) == 0 {
				text = strings.TrimSuffix(text, "\n")
			}
			write(t, path, text)
			want.WriteString(text)
		}
	}
	text, _, _ := since(t, dir, at, 1<<20, true)
	if got.WriteString(text); got.String() != want.String() {
		t.Errorf("%d bytes were written, and %d other ones read", want.Len(), got.Len())
	}
}

// TestTwoNamesOfOneFile: whoever gives a file both names of a ring keeps no reader busy.
func TestTwoNamesOfOneFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "etcd.log")
	write(t, path, "line\n")
	if err := os.Link(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	go func() {
		ended <- New(Source{Dir: dir}).Stream(t.Context(), "etcd", server.StreamOptions{Tail: -1}, func([]byte) error { return nil })
		_, _, _, err := Source{Dir: dir}.Since("etcd", Position{}, 1<<10, false)
		ended <- err
	}()
	for range 2 {
		select {
		case err := <-ended:
			if err == nil {
				t.Error("got no error")
			}
		case <-time.After(10 * time.Second):
			t.Fatal("it reads for ever")
		}
	}
}
