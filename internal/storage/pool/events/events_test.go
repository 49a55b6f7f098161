package events

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cyvive/cyvive/internal/storage/pool"
)

// stream is what zpool events -Hvf prints, put together by hand after zpool_do_events_nvprint.
func stream(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("testdata/stream.txt")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func all(t *testing.T, r io.Reader) []Event {
	t.Helper()
	p := NewParser(r)
	var out []Event
	for {
		e, err := p.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
}

func at(seconds, nanos int64) time.Time { return time.Unix(0x6a000000+seconds, nanos).UTC() }

func TestNext(t *testing.T) {
	got := all(t, strings.NewReader(stream(t)))
	want := []Event{
		{Class: PoolImport, EID: 1, Time: at(0, 1), Pool: "tank", PoolGUID: 11},
		{
			Class: Checksum, EID: 2, Time: at(1, 2), Pool: "tank", PoolGUID: 11, VdevGUID: 13, ParentGUID: 12, VdevType: "disk", VdevPath: "/dev/vdb1", FailMode: "wait",
			ReadErrors: 1, WriteErrors: 2, ChecksumErrors: 3, Flags: 0x2000b0, Priority: 4, IODelay: time.Second, Checksums: Threshold{N: 5, Within: time.Minute, Set: true},
		},
		{Class: Dropped, Lost: 3},
		{Class: StateChange, EID: 6, Time: at(2, 3), Pool: "tank", PoolGUID: 11, VdevGUID: 13, VdevPath: "/dev/vdb1", VdevState: pool.Removed, LastState: pool.Online},
		{Class: Removed, EID: 7, Time: at(3, 4), Pool: "tank", PoolGUID: 11, VdevGUID: 13, VdevType: "disk", ByKernel: true},
		{Class: "sysevent.fs.zfs.history_event", EID: 8, Time: at(4, 5), Pool: "tank", PoolGUID: 11},
	}
	if d := cmp.Diff(want, got, cmpopts.IgnoreFields(Event{}, "Fields")); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
	for name, want := range map[string]string{"detector.scheme": `"zfs"`, "bad_ranges": "0x0 0x8", "vdev_spare_paths": `"/dev/vdd1"`, "zio_err": "0x34"} {
		if v := got[1].Fields[name]; v != want {
			t.Errorf("field %s is %q, want %q", name, v, want)
		}
	}
	if v := got[5].Fields["lists.lists[1].a"]; v != "0x2" {
		t.Errorf("fields of nested lists: %q", got[5].Fields)
	}
	if !got[1].OfScan() || got[3].OfScan() {
		t.Error("which events are of a scan")
	}
}

// TestCut: a stream that is cut anywhere gives the events before, and no other.
func TestCut(t *testing.T) {
	text := stream(t)
	whole := all(t, strings.NewReader(text))
	for n := 0; n < len(text); n += 7 {
		got := all(t, strings.NewReader(text[:n]))
		if len(got) > len(whole) {
			t.Fatalf("%d events of %d bytes", len(got), n)
		}
		for i, e := range got[:max(0, len(got)-1)] { // the last may be cut
			if e.Class != whole[i].Class || e.EID != whole[i].EID {
				t.Errorf("event %d of %d bytes is %s %d", i, n, e.Class, e.EID)
			}
		}
	}
}

// TestBounded: neither long lines nor many of them are kept.
func TestBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("Nov 26 2026 13:00:00.000000001\tereport.fs.zfs.io\n        long = \"" + strings.Repeat("x", 1<<20) + "\"\n")
	for i := range 10 * maxFields {
		fmt.Fprintf(&b, "        f%d = 0x%x\n", i, i)
	}
	b.WriteString("\n")
	got := all(t, strings.NewReader(b.String()))
	if len(got) != 1 || len(got[0].Fields) != maxFields || len(got[0].Fields["long"]) > maxValueBytes {
		t.Errorf("%d events, %d fields, %d bytes", len(got), len(got[0].Fields), len(got[0].Fields["long"]))
	}
}

// opened is a stream that says when it was closed.
type opened struct {
	io.Reader
	closed *int
}

func (o opened) Close() error { *o.closed++; return nil }

func TestFollow(t *testing.T) {
	text := stream(t)
	closed := 0
	open := func(context.Context) (io.ReadCloser, error) { return opened{strings.NewReader(text), &closed}, nil }
	stop := errors.New("stop")
	var seen []uint64
	handle := func(limit int) func(Event) error {
		return func(e Event) error {
			if limit--; limit < 0 {
				return stop
			}
			seen = append(seen, e.EID)
			return nil
		}
	}
	mark, err := Follow(t.Context(), open, Mark{}, handle(2))
	if !errors.Is(err, stop) || mark.EID != 2 {
		t.Errorf("mark %+v, %v", mark, err)
	}
	// It goes on where it was, although all is printed again, and what was dropped is told again.
	mark, err = Follow(t.Context(), open, mark, handle(99))
	if !errors.Is(err, ErrEnded) || mark != (Mark{8, at(4, 5)}) {
		t.Errorf("mark %+v, %v", mark, err)
	}
	if d := cmp.Diff([]uint64{1, 2, 0, 6, 7, 8}, seen); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
	if closed != 2 {
		t.Errorf("closed %d times", closed)
	}
	// The module was loaded anew: numbers begin at 1, later.
	seen = nil
	text = "Nov 26 2026 14:00:00.000000001\tereport.fs.zfs.io\n        time = 0x6a100000 0x0 \n        eid = 0x1\n\n"
	if mark, err = Follow(t.Context(), open, mark, handle(99)); !errors.Is(err, ErrEnded) || mark.EID != 1 || len(seen) != 1 {
		t.Errorf("after the module was loaded anew: %+v, %v, %v", mark, err, seen)
	}
	failing := func(context.Context) (io.ReadCloser, error) { return nil, os.ErrNotExist }
	if _, err := Follow(t.Context(), failing, mark, handle(1)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without the program: %v", err)
	}
}

// TestFollowEnds: a context that ends closes a stream that says nothing.
func TestFollowEnds(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := Follow(ctx, func(context.Context) (io.ReadCloser, error) { return r, nil }, Mark{}, func(Event) error { return nil })
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// FuzzNext: any bytes are events of bounded size, and an end.
func FuzzNext(f *testing.F) {
	text, err := os.ReadFile("testdata/stream.txt")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("dropped 1 events\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p := NewParser(strings.NewReader(string(data)))
		for range len(data) + 1 {
			e, err := p.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if len(e.Fields) > maxFields {
				t.Fatalf("%d fields", len(e.Fields))
			}
		}
		t.Error("it does not end")
	})
}
