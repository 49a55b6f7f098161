package zfstest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
)

func TestConformance(t *testing.T) {
	m := zfstest.New("model", "tank")
	if err := m.Create(t.Context(), "tank/test", zfs.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	zfstest.Conformance(t, zfstest.Target{System: &zfstest.Faulty{System: m}, Contents: m, Root: "tank/test", Key: "file:///key"})
}

// sample has a little of everything.
func sample(t testing.TB) *zfstest.Model {
	m := zfstest.New("model", "tank")
	ctx := context.Background()
	for _, err := range []error{
		m.Create(ctx, "tank/a", zfs.CreateOptions{Properties: map[string]string{"dev.cyvive:x": "1"}}),
		m.Write(ctx, "tank/a", "f", bytes.Repeat([]byte("x"), 100)),
		m.Snapshot(ctx, []string{"tank/a@1"}, nil),
		m.Hold(ctx, "tag", "tank/a@1"),
		m.Bookmark(ctx, "tank/a@1", "tank/a#m"),
		m.Write(ctx, "tank/a", "g", []byte("y")),
		m.Write(ctx, "tank/a", "h", []byte("z")),
		m.Snapshot(ctx, []string{"tank/a@2"}, nil),
		m.Clone(ctx, "tank/a@1", "tank/c", nil),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func stream(t testing.TB, m *zfstest.Model, s zfs.SendSpec) []byte {
	t.Helper()
	r, err := m.Send(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestString: the golden file shows what a test of another package compares.
func TestString(t *testing.T) {
	m := sample(t)
	data := stream(t, m, zfs.SendSpec{Snapshot: "tank/a@2", Properties: true})
	err := m.Receive(t.Context(), zfs.ReceiveSpec{Name: "tank/r", Resumable: true}, bytes.NewReader(data[:len(data)-40]))
	if !errors.Is(err, zfs.ErrBadStream) {
		t.Fatalf("receive: %v", err)
	}
	golden := filepath.Join("testdata", "sample.golden")
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), m.String()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", golden, diff)
	}
}

// TestEveryCut: wherever a stream is cut, what is kept can be gone on with, and comes to the same.
func TestEveryCut(t *testing.T) {
	from := sample(t)
	data := stream(t, from, zfs.SendSpec{Snapshot: "tank/a@2"})
	for at := range data {
		to := zfstest.New("other", "pool")
		o := zfs.ReceiveSpec{Name: "pool/r", Resumable: true}
		if err := to.Receive(t.Context(), o, bytes.NewReader(data[:at])); !errors.Is(err, zfs.ErrBadStream) {
			t.Fatalf("cut at %d: %v", at, err)
		}
		rest := data
		found, err := to.List(t.Context(), zfs.Query{Roots: []string{"pool/r"}, Properties: []string{"receive_resume_token"}})
		if err == nil {
			rest = stream(t, from, zfs.SendSpec{ResumeToken: found[0].Properties["receive_resume_token"].Value})
		}
		if err := to.Receive(t.Context(), o, bytes.NewReader(rest)); err != nil {
			t.Fatalf("after a cut at %d: %v", at, err)
		}
		want, _ := from.Sum(t.Context(), "tank/a@2")
		if got, err := to.Sum(t.Context(), "pool/r@2"); err != nil || got != want {
			t.Fatalf("after a cut at %d: %s, %v, want %s", at, got, err, want)
		}
	}
}

func TestFaulty(t *testing.T) {
	ctx, boom := t.Context(), errors.New("boom")
	m := sample(t)
	f := &zfstest.Faulty{System: m}
	f.Order(zfstest.Fault{Method: "Create", Skip: 1, Err: boom})
	f.Order(zfstest.Fault{Method: "Hold", After: true, Err: boom})
	if err := f.Create(ctx, "tank/1", zfs.CreateOptions{}); err != nil {
		t.Errorf("first: %v", err)
	}
	if err := f.Create(ctx, "tank/2", zfs.CreateOptions{}); !errors.Is(err, boom) {
		t.Errorf("second: %v", err)
	}
	if err := f.Create(ctx, "tank/2", zfs.CreateOptions{}); err != nil {
		t.Errorf("third: %v", err)
	}
	if err := f.Hold(ctx, "late", "tank/a@2"); !errors.Is(err, boom) {
		t.Errorf("hold: %v", err)
	}
	if holds, err := f.Holds(ctx, "tank/a@2"); err != nil || len(holds["tank/a@2"]) != 1 {
		t.Errorf("the effect of what failed after it: %v, %v", holds, err)
	}
	f.Order(zfstest.Fault{Crash: true})
	if err := f.Rollback(ctx, "tank/a@2"); !errors.Is(err, zfstest.ErrCrashed) {
		t.Errorf("crash: %v", err)
	}
	if _, err := f.List(ctx, zfs.Query{}); !errors.Is(err, zfstest.ErrCrashed) {
		t.Errorf("after the crash: %v", err)
	}
	f.Restart()
	f.Order(zfstest.Fault{Method: "Send", CutAt: 10})
	r, err := f.Send(ctx, zfs.SendSpec{Snapshot: "tank/a@1"})
	if err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(r); len(data) != 10 || !errors.Is(err, zfstest.ErrCut) {
		t.Errorf("cut stream: %d bytes, %v", len(data), err)
	}
	if diff := cmp.Diff([]string{"Send"}, f.Calls()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if _, err := f.List(ctx, zfs.Query{}); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"Send", "List"}, f.All()); diff != "" {
		t.Errorf("all calls (-want +got):\n%s", diff)
	}
}

// FuzzReceive: no stream breaks the model, and what it takes it can send again.
func FuzzReceive(f *testing.F) {
	m := sample(f)
	f.Add(stream(f, m, zfs.SendSpec{Snapshot: "tank/a@2"}))
	f.Add(stream(f, m, zfs.SendSpec{Snapshot: "tank/a@2", From: "tank/a@1", Large: true}))
	f.Fuzz(func(t *testing.T, data []byte) {
		to := zfstest.New("other", "pool")
		if err := to.Receive(t.Context(), zfs.ReceiveSpec{Name: "pool/r", Resumable: true}, bytes.NewReader(data)); err != nil {
			return
		}
		found, err := to.List(t.Context(), zfs.Query{Kinds: []zfs.Kind{zfs.Snapshot}, Depth: -1})
		if err != nil || len(found) != 1 {
			t.Fatalf("received %v, %v", found, err)
		}
		stream(t, to, zfs.SendSpec{Snapshot: found[0].Name})
	})
}

// FuzzToken: no text breaks it.
func FuzzToken(f *testing.F) {
	f.Add("1-0-2-7b7d")
	f.Fuzz(func(t *testing.T, text string) {
		m := sample(t)
		if _, err := m.Token(t.Context(), text); err != nil && !errors.Is(err, zfs.ErrBadToken) {
			t.Fatal(err)
		}
		_, _ = m.Send(t.Context(), zfs.SendSpec{ResumeToken: text})
	})
}
