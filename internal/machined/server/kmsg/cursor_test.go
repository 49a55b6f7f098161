package kmsg

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/cyvive/cyvive/internal/machined/server"
)

// ring is a stand-in for the kernel's: it holds the newest records, so many of them,
// and each opening reads from the oldest on.
type ring struct {
	room    int
	records []string // from number first on
	first   uint64
	// fail is an error of the next read. Endless writes a record before each.
	fail    error
	endless string

	opened, closed, reads int
}

func (r *ring) put(records ...string) {
	r.records = append(r.records, records...)
	if over := len(r.records) - r.room; over > 0 {
		r.records, r.first = r.records[over:], r.first+uint64(over)
	}
}

// log writes records with the kernel's prefix.
func (r *ring) log(messages ...string) {
	for _, m := range messages {
		n := r.first + uint64(len(r.records))
		r.put(fmt.Sprintf("6,%d,%d,-;%s\n SUBSYSTEM=x\n", n, 1000*n, m))
	}
}

func (r *ring) cursor() *Cursor {
	return &Cursor{open: func() (io.ReadCloser, error) {
		r.opened++
		return &opening{r, r.first}, nil
	}}
}

// opening is one descriptor of the ring, which has come to number at.
type opening struct {
	*ring
	at uint64
}

func (o *opening) Read(p []byte) (int, error) {
	o.reads++
	if err := o.fail; err != nil {
		o.fail = nil
		return 0, err
	}
	if o.endless != "" {
		o.log(o.endless)
	}
	switch {
	case o.at < o.first:
		o.at = o.first
		return 0, syscall.EPIPE
	case o.at == o.first+uint64(len(o.records)):
		return 0, syscall.EAGAIN
	}
	record := o.records[o.at-o.first]
	if len(p) < len(record) {
		return 0, syscall.EINVAL
	}
	o.at++
	return copy(p, record), nil
}

func (o *opening) Close() error {
	o.closed++
	return nil
}

// since is a call that must succeed.
func since(t *testing.T, c *Cursor, next uint64) (string, uint64) {
	t.Helper()
	lines, after, err := c.Since(next, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return string(lines), after
}

const (
	oneMissing  = "[1 records of the kernel are missing here: more came than the kernel holds, or than is kept]\n"
	fourMissing = "[4 records of the kernel are missing here: more came than the kernel holds, or than is kept]\n"
)

// TestEachRecordOnce: a cursor gives each record once, in its order, and says where the kernel has overwritten some before they were read.
func TestEachRecordOnce(t *testing.T) {
	r := &ring{room: 4}
	c := r.cursor()
	r.put("6,0,0,-;Linux version 6.12.57\n", "30,1,1234567,-;init: started\n SUBSYSTEM=x\n", "4,2,99999999999,c;a part\\x0a")
	got, next := since(t, c, 0)
	if want := "<6>[    0.000000] Linux version 6.12.57\n<30>[    1.234567] init: started\n<4>[99999.999999] a part\\x0a\n"; got != want || next != 3 {
		t.Errorf("got %d, %q; want 3, %q", next, got, want)
	}
	if got, after := since(t, c, next); got != "" || after != next {
		t.Errorf("nothing new: got %d, %q", after, got)
	}
	r.log("three", "four")
	got, next = since(t, c, next)
	if want := "<6>[    0.003000] three\n<6>[    0.004000] four\n"; got != want || next != 5 {
		t.Errorf("got %d, %q; want 5, %q", next, got, want)
	}
	r.log("5", "6", "7", "8", "nine", "ten", "11", "12") // of which the kernel has four left
	got, next = since(t, c, next)
	if want := fourMissing + "<6>[    0.009000] nine\n<6>[    0.010000] ten\n<6>[    0.011000] 11\n<6>[    0.012000] 12\n"; got != want || next != 13 {
		t.Errorf("after an overrun: got %d, %q; want 13, %q", next, got, want)
	}
	if r.opened != 1 {
		t.Errorf("the device was opened %d times", r.opened)
	}
}

// TestFromANumberOn: another cursor goes on after the record that the one before gave last, and one that is asked again for what it gave, as what it gave could not be kept, gives it again.
func TestFromANumberOn(t *testing.T) {
	r := &ring{room: 100}
	r.log("zero", "one", "two")
	if _, next := since(t, r.cursor(), 0); next != 3 {
		t.Fatalf("got %d, want 3", next)
	}
	r.log("three")
	c := r.cursor()
	for range 2 {
		if got, next := since(t, c, 3); got != "<6>[    0.003000] three\n" || next != 4 {
			t.Errorf("got %d, %q; want 4 and the one record", next, got)
		}
	}
	// The ring has turned while no cursor was there.
	r.room = 1
	r.log("four", "five")
	if got, next := since(t, r.cursor(), 4); got != oneMissing+"<6>[    0.005000] five\n" || next != 6 {
		t.Errorf("got %d, %q; want 6, and that one is missing", next, got)
	}
	// It began before the kernel's oldest: the agent came late.
	if got, _ := since(t, r.cursor(), 0); !strings.HasPrefix(got, "[5 records of the kernel are missing") {
		t.Errorf("got %q, want that 5 are missing", got)
	}
	if err := c.Close(); err != nil || r.closed != 2 {
		t.Errorf("closed %d devices, %v; want 2", r.closed, err)
	}
}

// TestTornRecords: what is no record is left out, and said to be missing once another comes.
func TestTornRecords(t *testing.T) {
	r := &ring{room: 100}
	r.put("6,0,0,-;zero", "6,1,1", "\x00\xff;", "6,3,3000,-;three\n")
	got, next := since(t, r.cursor(), 0)
	if want := "<6>[    0.000000] zero\n[2 records of the kernel are missing here: more came than the kernel holds, or than is kept]\n<6>[    0.003000] three\n"; got != want || next != 4 {
		t.Errorf("got %d, %q; want 4, %q", next, got, want)
	}
	r.put("6,4")
	c := r.cursor()
	if got, after := since(t, c, next); got != "" || after != next {
		t.Errorf("got %d, %q; want nothing yet", after, got)
	}
	r.put("6,5,5000,-;five\n")
	if got, after := since(t, c, next); got != oneMissing+"<6>[    0.005000] five\n" || after != 6 {
		t.Errorf("got %d, %q; want 6, and that one is missing", after, got)
	}
}

// TestFlood: a kernel that writes faster than it is read holds nobody up, and of more than is wanted the newest is given.
func TestFlood(t *testing.T) {
	r := &ring{room: 8, endless: strings.Repeat("x", 900)}
	c, next := r.cursor(), uint64(0)
	for pass := range 3 {
		reads := r.reads
		lines, after, err := c.Since(next, 64<<10)
		if err != nil {
			t.Fatal(err)
		}
		if n := r.reads - reads; n > maxPassRecords || len(lines) > 64<<10 || len(lines) < 32<<10 || after <= next {
			t.Errorf("pass %d: %d reads gave %d bytes, to number %d", pass, n, len(lines), after)
		}
		if newest := fmt.Sprintf("[%12.6f] ", float64(after-1)/1000); !strings.Contains(string(lines[len(lines)-1000:]), newest) {
			t.Errorf("pass %d: the last line is not that of record %d: %.60q", pass, after-1, lines[len(lines)-1000:])
		}
		next = after
	}
	// Where each record comes after one that is missing, what is said of that counts too.
	gaps := newest{maxBytes: 1 << 10, bytes: gapBytes}
	for i := range 1000 {
		gaps.add(server.Record{Sequence: uint64(2 * i), Level: 6, Message: "y"})
	}
	if text := gaps.since(0); len(text) == 0 || len(text) > 1<<10 || !strings.HasSuffix(string(text), " y\n") {
		t.Errorf("%d bytes, want no more than %d: %q", len(text), 1<<10, text)
	}
	// A record that is longer than what is wanted is there all the same.
	r = &ring{room: 8}
	r.log("short", strings.Repeat("z", 900))
	if lines, _, err := r.cursor().Since(0, 100); err != nil || !strings.HasPrefix(string(lines), oneMissing) || !strings.HasSuffix(string(lines), "zzz\n") {
		t.Errorf("got %.200q, %v", lines, err)
	}
}

// TestDeviceFails: an error gives nothing, and the next call all of it.
func TestDeviceFails(t *testing.T) {
	r := &ring{room: 8}
	c := r.cursor()
	r.log("zero")
	_, next := since(t, c, 0)
	r.log("one")
	r.fail = syscall.EIO
	if lines, after, err := c.Since(next, 1<<20); !errors.Is(err, syscall.EIO) || len(lines) > 0 || after != next || r.closed != 1 {
		t.Errorf("got %q, %d, %v, and %d closed; want EIO and nothing else", lines, after, err, r.closed)
	}
	r.fail = syscall.EINTR
	if got, after := since(t, c, next); got != "<6>[    0.001000] one\n" || after != 2 {
		t.Errorf("got %d, %q; want 2 and the one record", after, got)
	}
	if _, _, err := NewCursor("/nonexistent/kmsg").Since(0, 1); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want not exist", err)
	}
}

// TestDescriptor: a device is read by its path, and its end is no error.
func TestDescriptor(t *testing.T) {
	c := NewCursor(os.DevNull)
	if got, next := since(t, c, 7); got != "" || next != 7 {
		t.Errorf("got %d, %q", next, got)
	}
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Error(err)
	}
}
