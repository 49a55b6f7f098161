package command

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

func TestSend(t *testing.T) {
	s, calls := fake(t, reply{Stdout: "a stream", Flood: 3 << 20})
	specs := []zfs.SendSpec{
		{Snapshot: "tank/a@2"},
		{Snapshot: "tank/a@2", From: "tank/a#1", Large: true, Properties: true},
		{Snapshot: "tank/a@2", From: "tank/o@1", Raw: true},
		{ResumeToken: "1-a-b-c", Large: true},
	}
	for _, spec := range specs {
		stream, err := s.Send(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(stream)
		if err != nil || !bytes.HasPrefix(data, []byte("a stream\x00")) || len(data) != 8+3<<20 {
			t.Errorf("%+v: %d bytes, %v", spec, len(data), err)
		}
		if n, err := stream.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("after the end: %d, %v", n, err)
		}
		if err := errors.Join(stream.Close(), stream.Close()); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	want := []string{"send -- tank/a@2", "send -L -e -c -i tank/a#1 -p -- tank/a@2", "send -w -i tank/o@1 -- tank/a@2", "send -L -e -c -t 1-a-b-c"}
	if diff := cmp.Diff(want, commandLines(calls())); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// TestSendFails: what does not end well does not end with io.EOF.
func TestSendFails(t *testing.T) {
	said := "warning: cannot send 'tank/a@2': something new\n"
	s, _ := fake(t, reply{Stdout: "half", Flood: 1 << 20, Stderr: said, Code: 1})
	stream, err := s.Send(t.Context(), zfs.SendSpec{Snapshot: "tank/a@2"})
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(stream)
	var e *Error
	if !errors.As(err, &e) || e.Said != said || len(data) != 4+1<<20 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	if err := stream.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	s, _ = fake(t, reply{Stderr: "cannot open 'tank/a@2': dataset does not exist\n", Code: 1})
	if stream, err := s.Send(t.Context(), zfs.SendSpec{Snapshot: "tank/a@2"}); !errors.Is(err, zfs.ErrNotExist) || stream != nil {
		t.Errorf("got %v, %v", stream, err)
	}
}

// TestSendClosed: Close ends the program, at once and without an error; so does the end of the context, with one.
func TestSendClosed(t *testing.T) {
	s, _ := fake(t, reply{Stdout: "begun", Hang: true})
	start := time.Now()
	stream, err := s.Send(t.Context(), zfs.SendSpec{Snapshot: "tank/a@2"})
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	stream, err = s.Send(ctx, zfs.SendSpec{Snapshot: "tank/a@2"})
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(100*time.Millisecond, cancel)
	if data, err := io.ReadAll(stream); !errors.Is(err, context.Canceled) || string(data) != "begun" {
		t.Errorf("got %q, %v", data, err)
	}
	if err := stream.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
}

// TestHeldStream: one whose program cannot be ended keeps nobody waiting, neither who reads nor who closes it, and is not begun again until it is gone.
func TestHeldStream(t *testing.T) {
	s, _ := fake(t, reply{Stdout: "begun", Hang: true})
	s.run.Held = NewHeld()
	ctx, cancel := context.WithCancel(t.Context())
	o, err := s.run.start(ctx, s.run.ZFSPath, []string{"send", "--", "tank/a@1"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	kill := o.process.cmd.Cancel
	t.Cleanup(func() { _ = kill() }) // it may be gone
	o.process.grace, o.process.cmd.WaitDelay, o.process.cmd.Cancel = 100*time.Millisecond, 0, func() error { return nil }
	got := make([]byte, len("begun"))
	if _, err := io.ReadFull(o, got); err != nil || string(got) != "begun" {
		t.Errorf("got %q, %v", got, err)
	}
	cancel()
	if n, err := o.Read(got); n != 0 || !errors.Is(err, ErrHeld) || !errors.Is(err, context.Canceled) {
		t.Errorf("read: %d, %v", n, err)
	}
	if err := o.Close(); !errors.Is(err, ErrHeld) {
		t.Errorf("close: %v", err)
	}
	if again, err := s.Send(t.Context(), zfs.SendSpec{Snapshot: "tank/a@1"}); !errors.Is(err, ErrHeld) || again != nil {
		t.Errorf("the same again: %v, %v", again, err)
	}
	if err := kill(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, is := s.run.Held.has(o.process.key()); !is {
			break
		}
		if time.Now().After(end) {
			t.Fatal("it is gone, and held still")
		}
	}
	if stream, err := s.Send(t.Context(), zfs.SendSpec{Snapshot: "tank/a@1"}); err != nil {
		t.Errorf("when it is gone: %v", err)
	} else if err := stream.Close(); err != nil {
		t.Error(err)
	}
}

// TestHeldReceive: nothing is received into a pool on which a change is held.
func TestHeldReceive(t *testing.T) {
	s, calls := fake(t, reply{Read: -1})
	s.run.Held = NewHeld()
	gone := s.run.Held.put("change of tank")
	if err := s.Receive(t.Context(), zfs.ReceiveSpec{Name: "tank/r"}, strings.NewReader("x")); !errors.Is(err, ErrHeld) || len(calls()) != 0 {
		t.Errorf("while one is held: %v, calls %v", err, calls())
	}
	gone()
	if err := s.Receive(t.Context(), zfs.ReceiveSpec{Name: "tank/r"}, strings.NewReader("x")); err != nil {
		t.Errorf("when it is gone: %v", err)
	}
}

// TestEvents: they are there as they are written, and the program ends when nobody listens any more.
func TestEvents(t *testing.T) {
	s, calls := fake(t, reply{Stdout: "an event", Hang: true})
	stream, err := s.run.Events(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len("an event"))
	if _, err := io.ReadFull(stream, got); err != nil || string(got) != "an event" {
		t.Errorf("got %q, %v", got, err)
	}
	if err := stream.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if diff := cmp.Diff([]string{"events -Hvf"}, commandLines(calls())); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	s, _ = fake(t, reply{Stderr: "The ZFS modules are not loaded.\n", Code: 1})
	if stream, err = s.run.Events(t.Context()); err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(stream); err == nil || !strings.Contains(err.Error(), "modules are not loaded") {
		t.Errorf("without the module: %q, %v", data, err)
	}
	if err := stream.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func TestReceive(t *testing.T) {
	s, calls := fake(t, reply{Read: -1})
	data := strings.Repeat("stream", 300_000)
	o := zfs.ReceiveSpec{
		Name: "tank/r", Resumable: true, Override: map[string]string{"readonly": "on", "dev.cyvive:x": "1"}, Exclude: []string{"quota", "mountpoint"},
	}
	if err := s.Receive(t.Context(), o, strings.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	all := calls()
	want := []string{"receive -u -s -o dev.cyvive:x=1 -o readonly=on -x mountpoint -x quota -- tank/r"}
	if diff := cmp.Diff(want, commandLines(all)); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if all[0].Input != data {
		t.Errorf("it got %d bytes", len(all[0].Input))
	}
}

// TestReceiveForce: -F is only for a destination without snapshots.
func TestReceiveForce(t *testing.T) {
	const head = `{"output_version":{"vers_major":0},"datasets":{`
	snapshot := func(name, txg string) string {
		return `"` + name + `":{"name":"` + name + `","type":"SNAPSHOT","createtxg":"` + txg + `","properties":{"guid":{"value":"1","source":{"type":"NONE"}},` +
			`"creation":{"value":"1","source":{"type":"NONE"}}}}`
	}
	list := "list -j -p -o guid,creation -t snapshot -d 1 -- tank/r"
	for _, c := range []struct {
		what string
		list reply
		want []string
	}{
		{"none", reply{Stderr: "cannot open 'tank/r': dataset does not exist\n", Code: 1}, []string{list, "receive -u -- tank/r"}},
		{"no snapshots", reply{Stdout: head + "}}"}, []string{list, "receive -u -F -- tank/r"}},
		{"snapshots", reply{Stdout: head + snapshot("tank/r@b", "7") + "," + snapshot("tank/r@a", "9") + "}}"},
			[]string{list, "rollback -- tank/r@a", "receive -u -- tank/r"}},
	} {
		c.list.Args = []string{"list"}
		s, calls := fake(t, c.list, reply{Read: -1})
		if err := s.Receive(t.Context(), zfs.ReceiveSpec{Name: "tank/r", Force: true}, strings.NewReader("x")); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		if diff := cmp.Diff(c.want, commandLines(calls())); diff != "" {
			t.Errorf("%s: calls (-want +got):\n%s", c.what, diff)
		}
	}
}

func TestReceiveFails(t *testing.T) {
	s, _ := fake(t, reply{Read: 3, Stderr: "cannot receive: invalid stream (bad magic number)\n", Code: 1})
	err := s.Receive(t.Context(), zfs.ReceiveSpec{Name: "tank/r"}, bytes.NewReader(make([]byte, 8<<20)))
	if !errors.Is(err, zfs.ErrBadStream) {
		t.Errorf("program that reads no more: %v", err)
	}
	cut := errors.New("connection is cut")
	s, _ = fake(t, reply{Read: -1, Stderr: "cannot receive new filesystem stream: incomplete stream\n", Code: 1})
	err = s.Receive(t.Context(), zfs.ReceiveSpec{Name: "tank/r"}, io.MultiReader(strings.NewReader("x"), failing{cut}))
	if !errors.Is(err, zfs.ErrBadStream) || !errors.Is(err, cut) {
		t.Errorf("stream that is cut: %v", err)
	}
	said := "cannot receive quota property on tank/r: size is less than current used or reserved space\n"
	s, _ = fake(t, reply{Read: -1, Stderr: said})
	if err := s.Receive(t.Context(), zfs.ReceiveSpec{Name: "tank/r"}, strings.NewReader("x")); err != nil {
		t.Errorf("property of the stream: %v", err)
	}
	o := zfs.ReceiveSpec{Name: "tank/r", Override: map[string]string{"quota": "1M"}}
	if err := s.Receive(t.Context(), o, strings.NewReader("x")); err == nil || !strings.Contains(err.Error(), "received tank/r, but cannot receive quota") {
		t.Errorf("property that was to be set: %v", err)
	}
}

type failing struct{ error }

func (f failing) Read([]byte) (int, error) { return 0, f.error }

// TestReceivePartial: zfs says that the destination exists; that it is partial, its token says.
func TestReceivePartial(t *testing.T) {
	list := func(token string) reply {
		return reply{Args: []string{"list"}, Stdout: `{"output_version":{"vers_major":0},"datasets":{"tank/r":{"name":"tank/r","type":"FILESYSTEM","createtxg":"1",` +
			`"properties":{"guid":{"value":"1"},"creation":{"value":"1"},"receive_resume_token":{"value":"` + token + `","source":{"type":"NONE"}}}}}}`}
	}
	exists := reply{Read: -1, Code: 1, Stderr: "cannot receive new filesystem stream: destination 'tank/r' exists\nmust specify -F to overwrite it\n"}
	for token, partial := range map[string]bool{"1-a-b-c": true, "-": false} {
		s, _ := fake(t, list(token), exists)
		err := s.Receive(t.Context(), zfs.ReceiveSpec{Name: "tank/r"}, strings.NewReader("x"))
		if !errors.Is(err, zfs.ErrExist) || errors.Is(err, zfs.ErrPartial) != partial {
			t.Errorf("token %s: got %v", token, err)
		}
	}
}

// TestReceiveContext: the end of the context is enough, though the stream gives nothing.
func TestReceiveContext(t *testing.T) {
	s, _ := fake(t, reply{Read: -1})
	silent, end := io.Pipe()
	defer end.Close()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(300*time.Millisecond, cancel)
	if err := s.Receive(ctx, zfs.ReceiveSpec{Name: "tank/r"}, silent); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestEstimate(t *testing.T) {
	s, calls := fake(t, reply{Stdout: "incremental\ttank/a@1\ttank/a@2\t1234\nsize\t1234\n"})
	got, err := s.Estimate(t.Context(), zfs.SendSpec{Snapshot: "tank/a@2", From: "tank/a@1", Large: true, Properties: true})
	if err != nil || got != 1234 {
		t.Errorf("got %d, %v", got, err)
	}
	want := []string{"send -n -P -L -e -c -i tank/a@1 -- tank/a@2"}
	if diff := cmp.Diff(want, commandLines(calls())); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	for _, text := range []string{"", "size\t\n", "size\t1K\n", "full\ttank/a@2\t12\n", "size 12\n"} {
		s, _ := fake(t, reply{Stdout: text})
		if got, err := s.Estimate(t.Context(), zfs.SendSpec{Snapshot: "tank/a@2"}); err == nil {
			t.Errorf("%q: got %d", text, got)
		}
	}
}
