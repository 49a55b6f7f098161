package kmsg

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/machined/server"
)

func TestParse(t *testing.T) {
	tests := []struct {
		in   string
		want server.Record
	}{
		{"6,339,5140900,-;NET: Registered protocol family 10\n", server.Record{Sequence: 339, Level: 6, SinceBoot: 5140900 * time.Microsecond, Message: "NET: Registered protocol family 10"}},
		{"30,340,5690716,-;udevd[80]: starting\n SUBSYSTEM=x\n DEVICE=y\n", server.Record{Sequence: 340, Level: 6, Facility: 3, SinceBoot: 5690716 * time.Microsecond, Message: "udevd[80]: starting"}},
		{"4,0,0,c,caller=T1;a;b\\x0a", server.Record{Level: 4, Message: "a;b\\x0a"}},
		{"2047,1,1;\xff", server.Record{Level: 7, Facility: 255, Sequence: 1, SinceBoot: time.Microsecond, Message: "\uFFFD"}},
	}
	for _, test := range tests {
		got, err := Parse([]byte(test.in))
		if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
			t.Errorf("%q: %v (-want +got):\n%s", test.in, err, diff)
		}
	}
	for _, in := range []string{"", "6,1,1", "6,1;x", "x,1,1,-;m", "6,x,1,-;m", "6,1,x,-;m", "6,1,-1,-;m", "2048,1,1,-;m", "6,1,9223372036854775807,-;m"} {
		if got, err := Parse([]byte(in)); err == nil {
			t.Errorf("%q: got %+v, want an error", in, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("6,339,5140900,-;NET: Registered\n SUBSYSTEM=net\n"))
	f.Add([]byte("30,340,5690716,-,caller=T1;udevd[80]: \\x1b"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := Parse(in)
		if err != nil {
			return
		}
		if r.Level > 7 || r.SinceBoot < 0 || !utf8.ValidString(r.Message) || strings.Contains(r.Message, "\n") {
			t.Errorf("%q became %+v", in, r)
		}
	})
}

// device is a stand-in for /dev/kmsg: a socket whose reads give one record
// each, and EAGAIN at the end, like the device's.
type device struct {
	reader *os.File
	writer int
}

func newDevice(t *testing.T) *device {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fds[1]) })
	return &device{os.NewFile(uintptr(fds[0]), "kmsg"), fds[1]}
}

func (d *device) put(t *testing.T, records ...string) {
	t.Helper()
	for _, r := range records {
		if _, err := syscall.Write(d.writer, []byte(r)); err != nil {
			t.Fatal(err)
		}
	}
}

func (d *device) log() *Reader {
	return &Reader{open: func() (*os.File, error) { return d.reader, nil }}
}

func TestStream(t *testing.T) {
	for tail, want := range map[int][]string{-1: {"a", "b", "c"}, 0: nil, 1: {"c"}, 2: {"b", "c"}, 9: {"a", "b", "c"}} {
		d := newDevice(t)
		d.put(t, "6,1,1,-;a", "6,2,1,-;b", "not a record", "6,3,1,-;c")
		var got []string
		err := d.log().Stream(t.Context(), server.StreamOptions{Tail: tail}, func(r server.Record) error {
			got = append(got, r.Message)
			return nil
		})
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("tail %d: %v (-want +got):\n%s", tail, err, diff)
		}
	}
}

func TestFollow(t *testing.T) {
	d := newDevice(t)
	d.put(t, "6,1,1,-;a")
	ctx, cancel := context.WithCancel(t.Context())
	got, done := make(chan string, 8), make(chan error, 1)
	go func() {
		done <- d.log().Stream(ctx, server.StreamOptions{Follow: true, Tail: -1}, func(r server.Record) error {
			got <- r.Message
			return nil
		})
	}()
	for _, want := range []string{"a", "b", "c"} {
		select {
		case m := <-got:
			if m != want {
				t.Errorf("got %q, want %q", m, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("no record, want %q", want)
		}
		d.put(t, "6,2,1,-;"+string(want[0]+1))
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("follow: %v", err)
	}
}

func TestSendErrorEndsTheStream(t *testing.T) {
	hungUp := errors.New("hung up")
	for _, tail := range []int{-1, 1} {
		d := newDevice(t)
		d.put(t, "6,1,1,-;a")
		err := d.log().Stream(t.Context(), server.StreamOptions{Tail: tail, Follow: true}, func(server.Record) error { return hungUp })
		if !errors.Is(err, hungUp) {
			t.Errorf("tail %d: got %v, want the error of send", tail, err)
		}
	}
}

func TestNoDevice(t *testing.T) {
	err := New("/nonexistent/kmsg").Stream(t.Context(), server.StreamOptions{}, nil)
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want not exist", err)
	}
}
