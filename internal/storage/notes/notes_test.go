package notes

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// disk is a device in memory whose writes can be cut.
type disk struct {
	data []byte
	// left is how many writes succeed still; the next is cut behind so many bytes.
	left, torn int
}

var errCut = errors.New("the power failed")

func newDisk() *disk { return &disk{data: make([]byte, 1<<20), left: 1 << 30} }

func (d *disk) ReadAt(b []byte, at int64) (int, error) { return bytes.NewReader(d.data).ReadAt(b, at) }

func (d *disk) WriteAt(b []byte, at int64) (int, error) {
	if d.left--; d.left < 0 {
		return copy(d.data[at:], b[:d.torn]), errCut
	}
	return copy(d.data[at:], b), nil
}

func (d *disk) Sync() error { return nil }

func text(t *testing.T, d *disk, p Place) string {
	t.Helper()
	b, err := Read(d, p)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestNotes(t *testing.T) {
	d := newDisk()
	if got, err := Read(d, Installation); got != nil || err != nil {
		t.Errorf("nothing: %q, %v", got, err)
	}
	longest := strings.Repeat("x", MaxBytes)
	for _, want := range []string{"one", "two", longest, "four"} {
		if err := Write(d, Installation, []byte(want)); err != nil {
			t.Fatal(err)
		}
		if got := text(t, d, Installation); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := text(t, d, Reset); got != "" {
		t.Errorf("the other note has become %q", got)
	}
	if err := Write(d, Installation, []byte(longest+"x")); err == nil {
		t.Error("a text that is too long was written")
	}
	if err := Write(d, Installation, nil); err == nil {
		t.Error("an empty text was written")
	}
	if err := Clear(d, Installation); err != nil {
		t.Fatal(err)
	}
	if len(bytes.Trim(d.data, "\x00")) > 0 {
		t.Error("something is left of a note that was removed")
	}
}

// TestPlaces: notes lie in the part that belongs to them, and beside each other.
func TestPlaces(t *testing.T) {
	for _, p := range []Place{Installation, Reset} {
		if p < Begin || p+2*blockBytes > Begin+Bytes {
			t.Errorf("the note at %d lies outside", p)
		}
	}
	if Reset < Installation+2*blockBytes {
		t.Error("the notes overlap")
	}
}

// TestCuts cuts each write behind any number of sectors, and in the middle of one as no disk should.
func TestCuts(t *testing.T) {
	for _, torn := range []int{0, 100, sectorBytes, blockBytes} {
		for before := range 4 {
			d := newDisk()
			old := ""
			for i := range before {
				old = fmt.Sprint("note ", i)
				if err := Write(d, Installation, []byte(old)); err != nil {
					t.Fatal(err)
				}
			}
			d.left, d.torn = 0, torn
			if err := Write(d, Installation, []byte("new")); !errors.Is(err, errCut) {
				t.Fatal(err)
			}
			got, err := Read(d, Installation)
			switch {
			case before == 0 && torn == 100:
				if !errors.Is(err, ErrDamaged) {
					t.Errorf("the first note, torn: %q, %v", got, err)
				}
			case err != nil || string(got) != old && (string(got) != "new" || torn < sectorBytes):
				t.Errorf("torn at %d after %d notes: %q, %v", torn, before, got, err)
			}
			d.left = 1 << 30
			if err := Write(d, Installation, []byte("again")); err != nil || text(t, d, Installation) != "again" {
				t.Errorf("torn at %d after %d notes: cannot be written again: %v", torn, before, err)
			}
			for cut := range 3 {
				c := &disk{data: bytes.Clone(d.data), left: cut, torn: torn}
				err := Clear(c, Installation)
				if got, readErr := Read(c, Installation); string(got) != "again" && (got != nil || readErr != nil && cut == 0) {
					t.Errorf("removing it is cut at %d: %v, and then %q, %v", cut, err, got, readErr)
				}
			}
		}
	}
}

// TestFile: a file is a device.
func TestFile(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := Read(f, Installation); err == nil {
		t.Error("a disk without room for notes has one")
	}
	if err := f.Truncate(1 << 20); err != nil {
		t.Fatal(err)
	}
	if err := Write(f, Reset, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(f, Reset); string(got) != "x" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// FuzzRead puts anything where a note is: what is read of it can be written again.
func FuzzRead(f *testing.F) {
	d := newDisk()
	if err := Write(d, Installation, []byte("text")); err != nil {
		f.Fatal(err)
	}
	good := d.data[Installation:][blockBytes : blockBytes+sectorBytes]
	f.Add(bytes.Clone(good), bytes.Clone(good))
	f.Add([]byte(magic), []byte{})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		d := newDisk()
		copy(d.data[Installation:][:blockBytes], first)
		copy(d.data[Installation+blockBytes:][:blockBytes], second)
		if got, err := Read(d, Installation); err == nil && len(got) > MaxBytes {
			t.Errorf("a note of %d bytes", len(got))
		}
		if err := Write(d, Installation, []byte("new")); err != nil {
			t.Fatal(err)
		}
		if got, err := Read(d, Installation); err != nil || string(got) != "new" {
			t.Errorf("after a write: %q, %v", got, err)
		}
	})
}
