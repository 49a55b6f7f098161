package loader

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func open(t *testing.T) (*Loader, string) {
	t.Helper()
	dir := t.TempDir()
	return New(func() (Volume, error) {
		return Volume{Dir: dir, FreeBytes: 100 << 20, Close: func() error { return nil }}, nil
	}), dir
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	files, err := os.ReadDir(entriesDir(dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var out []string
	for _, f := range files {
		out = append(out, f.Name())
	}
	return out
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(entriesDir(dir), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestLife walks an upgrade, a failed one, and the way back.
func TestLife(t *testing.T) {
	l, dir := open(t)
	put(t, dir, "cyvive-a.conf", Entry{Slot: "a", Generation: 1, Version: "1", Left: Unlimited}.Text())
	for _, step := range []struct {
		what string
		do   func() error
		want []string
	}{
		{"put", func() error { return l.Put("b", "2", 2, strings.NewReader("kernel 2")) }, []string{"cyvive-a.conf", "cyvive-b+2.conf"}},
		{"boot loader", func() error {
			return os.Rename(filepath.Join(entriesDir(dir), "cyvive-b+2.conf"), filepath.Join(entriesDir(dir), "cyvive-b+1-1.conf"))
		}, []string{"cyvive-a.conf", "cyvive-b+1-1.conf"}},
		{"bless", func() error { return l.Bless("b") }, []string{"cyvive-a.conf", "cyvive-b.conf"}},
		{"bless again", func() error { return l.Bless("b") }, []string{"cyvive-a.conf", "cyvive-b.conf"}},
		{"back to what is in a", func() error { return l.Put("a", "1", 2, nil) }, []string{"cyvive-a+2.conf", "cyvive-b.conf"}},
		{"spoil", func() error { return l.Spoil("a") }, []string{"cyvive-a+0.conf", "cyvive-b.conf"}},
		{"forget", func() error { return l.Forget("a") }, []string{"cyvive-b.conf"}},
		{"forget again", func() error { return l.Forget("a") }, []string{"cyvive-b.conf"}},
		{"spoil nothing", func() error { return l.Spoil("a") }, []string{"cyvive-b.conf"}},
	} {
		if step.what == "back to what is in a" {
			kernel := filepath.Join(dir, kernelPath("a"))
			if err := l.Put("a", "1", 2, nil); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("an entry for a slot without a kernel image: %v", err)
			}
			if err := os.WriteFile(kernel, []byte("kernel 1"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		if d := cmp.Diff(step.want, names(t, dir)); d != "" {
			t.Fatalf("%s (-want +got):\n%s", step.what, d)
		}
	}
	if err := l.Bless("a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("bless what is not there: %v", err)
	}
	s, err := l.Read()
	want := []Entry{{Slot: "b", Generation: 2, Version: "2", Left: Unlimited}}
	if d := cmp.Diff(want, s.Entries); d != "" || err != nil {
		t.Errorf("%v\n%s", err, d)
	}
	if got, want := s.KernelBytes["b"], int64(99<<20+len("kernel 2")); got != want {
		t.Errorf("room for the kernel of b is %d, want %d", got, want)
	}
	if kernel, err := os.ReadFile(filepath.Join(dir, "EFI/cyvive/b.efi")); string(kernel) != "kernel 2" || err != nil {
		t.Errorf("kernel of b is %q, %v", kernel, err)
	}
}

// TestCutBetween leaves two entries of a slot, as a power cut does, and foreign ones beside them.
func TestCutBetween(t *testing.T) {
	l, dir := open(t)
	text := func(slot string, generation uint64) string {
		return Entry{Slot: slot, Generation: generation, Version: "t"}.Text()
	}
	put(t, dir, "cyvive-a.conf", text("a", 1))
	put(t, dir, "CYVIVE-B+1-1.CONF", text("b", 2))
	put(t, dir, "cyvive-b.conf", text("b", 2))
	put(t, dir, "cyvive-b+2.conf.new", "half")
	put(t, dir, "other.conf", "title other\n")
	s, err := l.Read()
	want := []Entry{
		{Slot: "b", Generation: 2, Version: "t", Left: Unlimited},
		{Slot: "a", Generation: 1, Version: "t", Left: Unlimited},
	}
	if d := cmp.Diff(want, s.Entries); d != "" || err != nil {
		t.Errorf("%v\n%s", err, d)
	}
	if err := l.Bless("b"); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"cyvive-a.conf", "cyvive-b+2.conf.new", "cyvive-b.conf", "other.conf"}, names(t, dir)); d != "" {
		t.Errorf("after the next change (-want +got):\n%s", d)
	}
}

// TestEmptyEntry: the power failed amid a blessing, when the file without a counter had its name and nothing in it. The boot loader passes over that, and the entry of
// the slot is the one with the counter still: it is blessed again, and the file is whole after that.
func TestEmptyEntry(t *testing.T) {
	l, dir := open(t)
	tried := Entry{Slot: "b", Generation: 2, Version: "t", Left: 0, Done: 2}
	put(t, dir, "cyvive-a.conf", Entry{Slot: "a", Generation: 1, Version: "t"}.Text())
	put(t, dir, "cyvive-b.conf", "")
	put(t, dir, tried.name(), tried.Text())
	s, err := l.Read()
	if got, ok := s.Entry("b"); err != nil || !ok || got != tried {
		t.Errorf("the entry of slot b is %+v, %t, %v; want %+v", got, ok, err, tried)
	}
	if err := l.Bless("b"); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"cyvive-a.conf", "cyvive-b.conf"}, names(t, dir)); d != "" {
		t.Errorf("after the blessing (-want +got):\n%s", d)
	}
	s, err = l.Read()
	want := Entry{Slot: "b", Generation: 2, Version: "t", Left: Unlimited}
	if got, _ := s.Entry("b"); err != nil || got != want {
		t.Errorf("the entry of slot b is %+v, %v; want %+v", got, err, want)
	}
}

// TestNothingToChange: an entry that is as it should be is not written again; another one of its slot goes.
func TestNothingToChange(t *testing.T) {
	l, dir := open(t)
	for name, test := range map[string]struct {
		file   string
		change func(string) error
	}{"bless": {"cyvive-b.conf", l.Bless}, "spoil": {"cyvive-b+0-2.conf", l.Spoil}} {
		put(t, dir, test.file, Entry{Slot: "b", Generation: 2, Version: "t"}.Text())
		put(t, dir, "cyvive-b+0-1.conf", Entry{Slot: "b", Generation: 1, Version: "t"}.Text())
		path := filepath.Join(entriesDir(dir), test.file)
		before, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := test.change("b"); err != nil {
			t.Fatal(err)
		}
		after, err := os.Stat(path)
		if err != nil || !os.SameFile(before, after) {
			t.Errorf("%s: the entry was written again, %v", name, err)
		}
		if d := cmp.Diff([]string{test.file}, names(t, dir)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
		if err := l.Forget("b"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOrder(t *testing.T) {
	got := onePerSlot([]Entry{
		{Slot: "a", Generation: 9, Left: 0}, {Slot: "b", Generation: 2, Left: 1}, {Slot: "a", Generation: 9, Left: 1}, {Slot: "b", Generation: 2, Left: Unlimited},
	})
	want := []Entry{{Slot: "a", Generation: 9, Left: 1}, {Slot: "b", Generation: 2, Left: Unlimited}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	// Without tries it comes last, whatever its generation.
	got = onePerSlot([]Entry{{Slot: "a", Generation: 9, Left: 0, Done: 2}, {Slot: "b", Generation: 2, Left: Unlimited}})
	if got[0].Slot != "b" {
		t.Errorf("first is slot %s, want b", got[0].Slot)
	}
}

// TestRoom: a new kernel image takes the room of the one before, and of a half that a power cut left, but only behind their entry. The reader looks at
// what is there while the new one is written.
func TestRoom(t *testing.T) {
	l, dir := open(t)
	if err := l.Put("b", "1", 2, strings.NewReader("kernel 1")); err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(dir, kernelPath("b")+newSuffix)
	if err := os.WriteFile(half, make([]byte, 1000), 0o644); err != nil {
		t.Fatal(err)
	}
	look := lookingReader(func() {
		if left := names(t, dir); len(left) != 0 {
			t.Errorf("the kernel image is written while there are the entries %q", left)
		}
		if _, err := os.Stat(filepath.Join(dir, kernelPath("b"))); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the old kernel image still takes room: %v", err)
		}
		if info, err := os.Stat(half); err != nil || info.Size() != 0 {
			t.Errorf("the half of another still takes room: %v, %v", info, err)
		}
	})
	if err := l.Put("b", "2", 2, io.MultiReader(look, strings.NewReader("kernel 2"))); err != nil {
		t.Fatal(err)
	}
	if kernel, err := os.ReadFile(filepath.Join(dir, kernelPath("b"))); string(kernel) != "kernel 2" || err != nil {
		t.Errorf("kernel of b is %q, %v", kernel, err)
	}
}

// TestHalves: what power cuts have left half written is gone before anything takes up room, of either slot; what others have there stays.
func TestHalves(t *testing.T) {
	l, dir := open(t)
	if err := l.Put("b", "1", 2, strings.NewReader("kernel 1")); err != nil {
		t.Fatal(err)
	}
	leave := func() (halves []string) {
		t.Helper()
		put(t, dir, "other.conf.new", "of others")
		for _, name := range []string{"loader/entries/cyvive-a+2.conf.new", "loader/entries/CYVIVE-B.CONF.NEW", kernelPath("a") + newSuffix} {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, []byte("half"), 0o644); err != nil {
				t.Fatal(err)
			}
			halves = append(halves, path)
		}
		return halves
	}
	check := func(when string, halves []string) {
		t.Helper()
		for _, path := range halves {
			if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %s is there still: %v", when, path, err)
			}
		}
		if _, err := os.Stat(filepath.Join(entriesDir(dir), "other.conf.new")); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	halves := leave()
	look := lookingReader(func() { check("while a kernel image is written", halves) })
	if err := l.Put("b", "2", 2, io.MultiReader(look, strings.NewReader("kernel 2"))); err != nil {
		t.Fatal(err)
	}
	check("after that", halves)
	halves = leave()
	if err := l.Bless("b"); err != nil {
		t.Fatal(err)
	}
	check("after a blessing", halves)
}

// lookingReader calls a function and is at its end.
type lookingReader func()

func (l lookingReader) Read([]byte) (int, error) { l(); return 0, io.EOF }

// TestImageEntry: the image builder is another module and writes the entry of the first slot itself. Its test holds that against the same file.
func TestImageEntry(t *testing.T) {
	e := Entry{Slot: "a", Generation: 1, Version: "0.1.0", Left: Unlimited}
	want, err := os.ReadFile(filepath.Join("../../../images/testdata", e.name()))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), e.Text()); d != "" {
		t.Errorf("entry (-the image's +the node's):\n%s", d)
	}
	parsed, ok := parseName(e.name())
	if got := parsed.parseText(string(want)); !ok || got != e {
		t.Errorf("the image's entry is read as %+v", got)
	}
}

func TestOpenFails(t *testing.T) {
	gone := errors.New("no such device")
	l := New(func() (Volume, error) { return Volume{}, gone })
	_, err := l.Read()
	for _, err := range []error{err, l.Put("b", "t", 2, nil), l.Bless("a"), l.Spoil("a"), l.Forget("a")} {
		if !errors.Is(err, gone) {
			t.Errorf("got %v, want %v", err, gone)
		}
	}
	l = New(func() (Volume, error) { return Volume{Dir: t.TempDir(), Close: func() error { return gone }}, nil })
	if err := l.Forget("a"); !errors.Is(err, gone) {
		t.Errorf("a volume that does not close: %v", err)
	}
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{"cyvive-a.conf", "cyvive-b+2.conf", "cyvive-b+1-1.conf", "cyvive-b+0-2.conf", "cyvive-c.conf", "cyvive-a+.conf", "cyvive-a+00002-1.conf"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		e, ok := parseName(name)
		if !ok {
			return
		}
		again, ok := parseName(e.name())
		if !ok || again != e {
			t.Errorf("%q is %+v, and written again %q is %+v", name, e, e.name(), again)
		}
	})
}

func FuzzParseText(f *testing.F) {
	f.Add(Entry{Slot: "a", Generation: 7, Version: "0.1.0"}.Text())
	f.Add("version 99999999999999999999\ntitle\n")
	f.Fuzz(func(t *testing.T, text string) {
		e := Entry{Slot: "a"}.parseText(text)
		if again := (Entry{Slot: "a"}).parseText(e.Text()); again != e {
			t.Errorf("%+v, and written again %+v", e, again)
		}
	})
}

// unsynced is a file that knows how much of it is not on the disk.
type unsynced struct {
	data      []byte
	now, most int
}

func (u *unsynced) Write(p []byte) (int, error) {
	u.data = append(u.data, p...)
	u.now += len(p)
	u.most = max(u.most, u.now)
	return len(p), nil
}

func (u *unsynced) Sync() error {
	u.now = 0
	return nil
}

// TestLargeFileInSteps: of a kernel image no more than a step is ever not on the disk.
func TestLargeFileInSteps(t *testing.T) {
	for _, size := range []int{0, 1, syncBytes, 2*syncBytes + 7} {
		want := bytes.Repeat([]byte("kernel"), size/6+1)[:size]
		var u unsynced
		if err := copySynced(&u, bytes.NewReader(want)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(u.data, want) || u.now != 0 || u.most > syncBytes {
			t.Errorf("%d bytes: wrote %d, of which %d are not on the disk, and %d at most were not; want %d at most", size, len(u.data), u.now, u.most, syncBytes)
		}
	}
	cut := errors.New("cut off")
	if err := copySynced(&unsynced{}, io.MultiReader(strings.NewReader("half"), iotest.ErrReader(cut))); !errors.Is(err, cut) {
		t.Errorf("a source that fails: got %v, want %v", err, cut)
	}
	if err := copySynced(&unsynced{}, iotest.ErrReader(fmt.Errorf("cut off: %w", io.EOF))); err == nil {
		t.Error("a source that fails with an end in its error: got no error")
	}
}

// TestLastTryBesideOldEntry: a way back to slot a was cut between its new entry and the end of its old one, and its first try did not end well. What runs is the
// last try of the new one.
func TestLastTryBesideOldEntry(t *testing.T) {
	l, dir := open(t)
	put(t, dir, "cyvive-b.conf", Entry{Slot: "b", Generation: 2, Version: "2", Left: Unlimited}.Text())
	put(t, dir, "cyvive-a.conf", Entry{Slot: "a", Generation: 1, Version: "1", Left: Unlimited}.Text())
	put(t, dir, "cyvive-a+1-1.conf", Entry{Slot: "a", Generation: 3, Version: "1", Left: 1}.Text())
	s, err := l.Read()
	if err != nil {
		t.Fatal(err)
	}
	if e, _ := s.Entry("a"); e.Left == Unlimited {
		t.Errorf("first try: %+v", e)
	}
	// The boot loader counts, and starts it again.
	if err := l.Forget("a"); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "cyvive-a.conf", Entry{Slot: "a", Generation: 1, Version: "1", Left: Unlimited}.Text())
	put(t, dir, "cyvive-a+0-2.conf", Entry{Slot: "a", Generation: 3, Version: "1", Left: 0}.Text())
	if s, err = l.Read(); err != nil {
		t.Fatal(err)
	}
	if e, _ := s.Entry("a"); e.Left == Unlimited {
		t.Errorf("last try: it counts as blessed: %+v", e)
	}
}
