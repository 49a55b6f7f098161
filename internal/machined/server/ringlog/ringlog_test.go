package ringlog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cyvive/cyvive/internal/machined/server"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, r *Reader, service string, tail int) []string {
	t.Helper()
	var lines []string
	err := r.Stream(t.Context(), service, server.StreamOptions{Tail: tail}, func(line []byte) error {
		lines = append(lines, string(line))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestTail(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "etcd.log.1"), "1\n2\n3")
	write(t, filepath.Join(dir, "etcd.log"), "3\n4\n\n5")
	r := New(Source{Dir: dir})
	all := []string{"1", "2", "33", "4", "", "5"}
	for tail := -1; tail < 8; tail++ {
		want := all
		if tail >= 0 {
			want = all[max(0, len(all)-tail):]
		}
		if diff := cmp.Diff(want, read(t, r, "etcd", tail), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("tail %d (-want +got):\n%s", tail, diff)
		}
	}
}

func TestManyLinesTail(t *testing.T) {
	dir := t.TempDir()
	var text strings.Builder
	for i := range 10000 {
		fmt.Fprintln(&text, i)
	}
	write(t, filepath.Join(dir, "etcd.log"), text.String())
	if diff := cmp.Diff([]string{"9997", "9998", "9999"}, read(t, New(Source{Dir: dir}), "etcd", 3)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNames(t *testing.T) {
	system, plane := t.TempDir(), t.TempDir()
	write(t, filepath.Join(system, "containerd.log"), "system\n")
	write(t, filepath.Join(system, "containerd.log.1"), "")
	write(t, filepath.Join(plane, "containerd.log"), "plane\n")
	write(t, filepath.Join(plane, "kubelet.log"), "kubelet\n")
	r := New(Source{Dir: system}, Source{Dir: plane, Prefix: "plane/"}, Source{Dir: filepath.Join(plane, "absent")})
	names, err := r.Names()
	if diff := cmp.Diff([]string{"containerd", "plane/containerd", "plane/kubelet"}, names); err != nil || diff != "" {
		t.Errorf("names: %v (-want +got):\n%s", err, diff)
	}
	for service, want := range map[string]string{"containerd": "system", "plane/containerd": "plane", "kubelet": "kubelet", "plane/kubelet": "kubelet"} {
		if got := read(t, r, service, -1); len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %q, want %q", service, got, want)
		}
	}
	for _, service := range []string{"etcd", "../" + filepath.Base(plane) + "/kubelet", ""} {
		err := r.Stream(t.Context(), service, server.StreamOptions{}, nil)
		if !errors.Is(err, server.ErrNotFound) || !strings.Contains(err.Error(), "plane/kubelet") {
			t.Errorf("%q: got %v, want ErrNotFound that lists the logs", service, err)
		}
	}
}

// following streams a log into a channel, from a goroutine that the test waits
// for at its end.
func following(t *testing.T, dir string) <-chan string {
	t.Helper()
	r := New(Source{Dir: dir})
	r.interval = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	lines, done := make(chan string), make(chan error, 1)
	go func() {
		done <- r.Stream(ctx, "etcd", server.StreamOptions{Follow: true, Tail: 1}, func(line []byte) error {
			select {
			case lines <- string(line):
			case <-ctx.Done():
			}
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("follow: %v", err)
		}
	})
	return lines
}

func expect(t *testing.T, lines <-chan string, want string) {
	t.Helper()
	select {
	case got := <-lines:
		if got != want {
			t.Fatalf("got line %q, want %q", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("no line, want %q", want)
	}
}

// TestFollow goes through what a writer does to a followed log.
func TestFollow(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "etcd.log")
	write(t, path, "old\nlast\n")
	lines := following(t, dir)
	expect(t, lines, "last")

	write(t, path, "begun ")
	write(t, path, "and ended\n")
	expect(t, lines, "begun and ended")

	// Renamed, with a line cut in two by it.
	write(t, path, "before the rename, ")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write(t, path+".1", "late, ")
	write(t, path, "after\n")
	expect(t, lines, "before the rename, late, after")

	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	write(t, path, "new\n")
	expect(t, lines, "new")

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write(t, path, "made again\n")
	expect(t, lines, "made again")
}

func TestSendErrorEndsTheStream(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "etcd.log"), "1\n2\n")
	hungUp := errors.New("hung up")
	for _, tail := range []int{-1, 1} {
		err := New(Source{Dir: dir}).Stream(t.Context(), "etcd", server.StreamOptions{Tail: tail, Follow: true}, func([]byte) error { return hungUp })
		if !errors.Is(err, hungUp) {
			t.Errorf("tail %d: got %v, want the error of send", tail, err)
		}
	}
}

// TestFolderOfOthers: whoever writes in the folder's surroundings leads no read out
// of them, keeps nobody waiting, and is no trouble for other logs.
func TestFolderOfOthers(t *testing.T) {
	system, plane, outside := t.TempDir(), t.TempDir(), t.TempDir()
	write(t, filepath.Join(system, "etcd.log"), "system\n")
	write(t, filepath.Join(outside, "secret"), "secret\n")
	write(t, filepath.Join(outside, "kubelet.log"), "secret\n")
	dir := filepath.Join(plane, "log")
	r := New(Source{Dir: system}, Source{Dir: dir, Within: plane, Prefix: "plane/"})
	current, previous := filepath.Join(dir, "kubelet.log"), filepath.Join(dir, "kubelet.log.1")
	begin := func() {
		t.Helper()
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, current, "line\n")
	}
	for name, put := range map[string]func() error{
		"link to a file":   func() error { return os.Symlink(filepath.Join(outside, "secret"), previous) },
		"link to a device": func() error { return os.Symlink("/dev/zero", previous) },
		"pipe":             func() error { return syscall.Mkfifo(previous, 0o600) },
		"folder":           func() error { return os.Mkdir(previous, 0o755) },
		"link for the folder": func() error {
			return errors.Join(os.RemoveAll(dir), os.Symlink(outside, dir))
		},
		"pipe for the folder": func() error {
			return errors.Join(os.RemoveAll(dir), syscall.Mkfifo(dir, 0o600))
		},
	} {
		begin()
		if err := put(); err != nil {
			t.Fatal(err)
		}
		err := r.Stream(t.Context(), "plane/kubelet", server.StreamOptions{Tail: -1}, func(line []byte) error {
			if string(line) != "line" {
				t.Errorf("%s: got the line %.40q", name, line)
			}
			return nil
		})
		if err == nil {
			t.Errorf("%s: got no error", name)
		}
		if got := read(t, r, "etcd", -1); len(got) != 1 || got[0] != "system" {
			t.Errorf("%s: the log of another folder: got %q", name, got)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	// A file of any size costs what a ring does.
	begin()
	write(t, previous, "")
	if err := os.Truncate(previous, 1<<40); err != nil {
		t.Fatal(err)
	}
	var bytes int
	err := r.Stream(t.Context(), "kubelet", server.StreamOptions{Tail: 1 << 30}, func(line []byte) error {
		bytes += len(line)
		return nil
	})
	if err != nil || bytes > maxFileBytes+len("line") {
		t.Errorf("a file of a terabyte: got %d bytes, %v", bytes, err)
	}
}

// FuzzSplitter: lines come out the same however the text is cut into writes,
// and none is longer than the limit.
func FuzzSplitter(f *testing.F) {
	f.Add([]byte("a\nbc\n\nd"), 2)
	f.Add([]byte(strings.Repeat("x", maxLineBytes+3)+"\ny"), 1000)
	f.Add([]byte(strings.Repeat("x", maxLineBytes)+"\ny"), maxLineBytes)
	f.Fuzz(func(t *testing.T, text []byte, step int) {
		if step < 1 {
			step = 1
		}
		whole, cut := split(t, text, max(1, len(text))), split(t, text, step)
		if diff := cmp.Diff(whole, cut); diff != "" {
			t.Errorf("written by %d (-whole +cut):\n%s", step, diff)
		}
		var total int
		for _, line := range whole {
			if len(line) > maxLineBytes {
				t.Errorf("a line of %d bytes", len(line))
			}
			total += len(line)
		}
		if want := len(text) - strings.Count(string(text), "\n"); total != want {
			t.Errorf("%d bytes of text became %d", want, total)
		}
	})
}

func split(t *testing.T, text []byte, step int) []string {
	t.Helper()
	var lines []string
	s := splitter{emit: func(line []byte) error { lines = append(lines, string(line)); return nil }}
	for piece := range slices.Chunk(text, step) {
		if n, err := s.Write(piece); n != len(piece) || err != nil {
			t.Fatalf("write: %d, %v", n, err)
		}
	}
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	return lines
}
