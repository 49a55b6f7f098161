package auditlog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/audit"
)

const limit = 64 << 10

func open(t *testing.T, dir string) *Log {
	t.Helper()
	l, err := Open(dir, "boot-1", limit, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func add(t *testing.T, l *Log, methods ...string) {
	t.Helper()
	for _, m := range methods {
		if err := l.Append(audit.Entry{Time: time.Now(), Kind: audit.KindCall, Method: m, Code: "OK"}, false); err != nil {
			t.Fatal(err)
		}
	}
}

// verified reads a log through its verifier.
func verified(t *testing.T, l *Log) ([]audit.Entry, *audit.Verifier) {
	t.Helper()
	v := &audit.Verifier{}
	var entries []audit.Entry
	err := l.Read(t.Context(), func(line []byte) error {
		e, err := v.Add(line)
		entries = append(entries, e)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return entries, v
}

// events is what a log says happened.
func events(t *testing.T, l *Log) []string {
	t.Helper()
	var out []string
	entries, _ := verified(t, l)
	for _, e := range entries {
		if e.Kind == audit.KindCall {
			out = append(out, e.Method)
		} else {
			out = append(out, fmt.Sprintf("%s %d", e.Kind, e.Count))
		}
	}
	return out
}

func TestChainGoesOnOverRestarts(t *testing.T) {
	dir := t.TempDir()
	for i := range 5 {
		l := open(t, dir)
		add(t, l, fmt.Sprint(i))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	l := open(t, dir)
	if diff := cmp.Diff([]string{"0", "1", "2", "3", "4"}, events(t, l)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestChainGoesOnOverTurns(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	const n = 2000
	for i := range n {
		add(t, l, fmt.Sprint(i))
		if i%777 == 0 {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			l = open(t, dir)
		}
	}
	entries, v := verified(t, l)
	if v.Head().Sequence != n || v.Dropped().Sequence != n-uint64(len(entries)) || v.Dropped().Sequence == 0 {
		t.Errorf("head %v, dropped %v, %d entries: want %d in all, some dropped", v.Head(), v.Dropped(), len(entries), n)
	}
	var size int64
	for _, name := range []string{current, previous} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size > 2*limit {
		t.Errorf("the log takes %d bytes, more than %d", size, 2*limit)
	}
}

// TestCutOffAnywhere cuts a log off at every byte, as a crash in the middle of
// a write does, and opens it again: all whole entries are there, and the chain
// is in order.
func TestCutOffAnywhere(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	add(t, l, "a", "b", "c")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(filepath.Join(dir, current))
	if err != nil {
		t.Fatal(err)
	}
	for size := range log {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, current), log[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		whole := bytes.Count(log[:size], []byte("\n"))
		want := []string{"a", "b", "c"}[:whole:whole]
		if cut := size - 1 - bytes.LastIndexByte(log[:size], '\n'); cut > 0 {
			want = append(want, fmt.Sprintf("resumed %d", cut))
		}
		l := open(t, dir)
		add(t, l, "after")
		if diff := cmp.Diff(append(want, "after"), events(t, l)); diff != "" {
			t.Fatalf("cut off at byte %d (-want +got):\n%s", size, diff)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestZeros: after a power cut a file may have its new size and zeros for what
// was written last.
func TestZeros(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	add(t, l, "a")
	if _, err := l.chain.file.Write(make([]byte, 10*audit.MaxLineBytes)); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir)
	add(t, l, "b")
	if diff := cmp.Diff([]string{"a", fmt.Sprintf("resumed %d", 10*audit.MaxLineBytes), "b"}, events(t, l)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestBrokenLineStaysToBeFound(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	add(t, l, "a", "b")
	path := filepath.Join(dir, current)
	log, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(log, []byte(`"b"`), []byte(`"x"`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir)
	add(t, l, "c")
	v := &audit.Verifier{}
	err = l.Read(t.Context(), func(line []byte) error { _, err := v.Add(line); return err })
	if broken, ok := errors.AsType[*audit.BrokenError](err); !ok || broken.Line != 2 {
		t.Errorf("got %v, want line 2 broken", err)
	}
}

func TestMove(t *testing.T) {
	memory, volume := t.TempDir(), filepath.Join(t.TempDir(), "audit")
	first := open(t, volume)
	add(t, first, "boot before")
	l := open(t, memory)
	add(t, l, "early 1", "early 2")
	if err := l.Move(t.Context(), volume); err != nil {
		t.Fatal(err)
	}
	add(t, l, "late")
	if err := l.Move(t.Context(), volume); err != nil {
		t.Errorf("second move: %v", err)
	}
	if diff := cmp.Diff([]string{"boot before", "early 1", "early 2", "late"}, events(t, l)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if left, err := os.ReadDir(memory); err != nil || len(left) > 0 {
		t.Errorf("left in memory: %v, %v", left, err)
	}
	// The agent is killed; the next has entries of its own before the volume is seen.
	l = open(t, memory)
	add(t, l, "of the next agent")
	if err := l.Move(t.Context(), volume); err != nil {
		t.Fatal(err)
	}
	if got := events(t, l); !slices.Contains(got, "of the next agent") || len(got) != 5 {
		t.Errorf("events after a second agent: %q", got)
	}
}

// TestInterruptedMove ends a move after each of its entries. The next agent
// brings the rest, once.
func TestInterruptedMove(t *testing.T) {
	early := []string{"1", "2", "3"}
	for moved := range len(early) + 1 {
		memory, volume := t.TempDir(), t.TempDir()
		l := open(t, memory)
		add(t, l, early...)
		target, _, err := openChain(volume, limit)
		if err != nil {
			t.Fatal(err)
		}
		entries, _ := verified(t, l)
		for i, e := range entries[:moved] {
			if e.Early = l.chain.head.Hash; i+1 < len(entries) {
				e.Early = entries[i+1].Previous
			}
			if err := target.append(e); err != nil {
				t.Fatal(err)
			}
		}
		l = open(t, memory)
		add(t, l, "4")
		if err := l.Move(t.Context(), volume); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"1", "2", "3", "4"}, events(t, l)); diff != "" {
			t.Errorf("after %d entries (-want +got):\n%s", moved, diff)
		}
	}
}

// TestMoveWithoutRemoval: where what was moved could not be removed, the next agent, and
// the one after it, move only what is new.
func TestMoveWithoutRemoval(t *testing.T) {
	memory, volume := t.TempDir(), t.TempDir()
	l := open(t, memory)
	add(t, l, "1", "2")
	left, err := os.ReadFile(filepath.Join(memory, current))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Move(t.Context(), volume); err != nil {
		t.Fatal(err)
	}
	add(t, l, "late")
	for _, c := range []struct{ early, want []string }{
		{[]string{"3"}, []string{"1", "2", "late", "3"}},
		{nil, []string{"1", "2", "late", "3"}},
	} {
		if err := errors.Join(l.Close(), os.WriteFile(filepath.Join(memory, current), left, 0o600)); err != nil {
			t.Fatal(err)
		}
		l = open(t, memory)
		add(t, l, c.early...)
		if err := l.Move(t.Context(), volume); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, events(t, l)); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	}
}

// TestMoveLeavesNothingUnsaid: a broken line in memory keeps no log from the
// volume, and the log says that it was there.
func TestMoveLeavesNothingUnsaid(t *testing.T) {
	l := open(t, t.TempDir())
	add(t, l, "a")
	if _, err := l.chain.file.WriteString("broken\n"); err != nil {
		t.Fatal(err)
	}
	add(t, l, "b")
	if err := l.Move(t.Context(), t.TempDir()); err != nil {
		t.Fatal(err)
	}
	add(t, l, "c")
	if diff := cmp.Diff([]string{"a", "b", "lost 1", "c"}, events(t, l)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestFailedWritesAreCounted(t *testing.T) {
	l := open(t, t.TempDir())
	whole := l.chain.file
	broken, err := os.Open(whole.Name()) // for reading only
	if err != nil {
		t.Fatal(err)
	}
	l.chain.file = broken
	for range 3 {
		if err := l.Append(audit.Entry{Kind: audit.KindCall}, false); err == nil {
			t.Fatal("a write to a file that is open for reading: no error")
		}
	}
	l.chain.file = whole
	add(t, l, "a")
	if diff := cmp.Diff([]string{"lost 3", "a"}, events(t, l)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// TestReadWhileWriting: a reader sees a chain in order whatever is written, and
// however often the log turns, meanwhile.
func TestReadWhileWriting(t *testing.T) {
	l := open(t, t.TempDir())
	add(t, l, "first")
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := range 300 {
				if err := l.Append(audit.Entry{Kind: audit.KindCall, Method: fmt.Sprint(w, i)}, false); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 20 {
		verified(t, l)
	}
	writers.Wait()
	if _, v := verified(t, l); v.Head().Sequence != 1201 {
		t.Errorf("head: got %v, want entry 1201", v.Head())
	}
}
