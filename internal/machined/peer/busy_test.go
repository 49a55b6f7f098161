package peer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
)

// TestBusy: what a node has to itself nobody else changes, not even a request that was let through just before; and whoever asks may look.
func TestBusy(t *testing.T) {
	ctx := t.Context()
	const id = "11111111-2222-4333-8444-555555555555"
	from := zfstest.New("other", "alpha")
	if err := errors.Join(from.Write(ctx, "alpha", "file", []byte("text")), from.Snapshot(ctx, []string{"alpha@s"}, nil)); err != nil {
		t.Fatal(err)
	}
	sent, err := from.List(ctx, zfs.Query{Roots: []string{"alpha@s"}})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := from.Send(ctx, zfs.SendSpec{Snapshot: "alpha@s"})
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(stream)
	if err != nil {
		t.Fatal(err)
	}
	job := replication.Job{ID: id, Direction: replication.Push, Roots: []replication.Root{{Source: "alpha", Target: "tank/in"}}}
	for _, c := range []struct {
		what string
		// free is how often the job is asked for before the node needs its datasets.
		free  int
		class error
		works bool
	}{
		{"from the start", 0, server.ErrUnavailable, false},
		{"since it was let through", 1, nil, false},
		{"never", 10, nil, true},
	} {
		node := func() (*zfstest.Model, *Guard) {
			m, asked := zfstest.New("node", "tank"), 0
			return m, NewGuard(ctx, m, nil, func(string) (Allowed, bool) {
				asked++
				return Allowed{Name: "job", Job: job, Works: true, Busy: asked > c.free, Tops: []string{"tank"}}, true
			}, func(string) {})
		}
		m, g := node()
		header := &replicationv1.ReceiveHeader{
			Job: id, FileSystem: "tank/in", Kind: replicationv1.Kind_KIND_FILESYSTEM, ToGuid: uint64(sent[0].GUID), Stream: job.Stream.String(),
		}
		check := func(what string, m *zfstest.Model, err error) {
			t.Helper()
			if c.works != (err == nil) || c.class != nil && !errors.Is(err, c.class) {
				t.Errorf("busy %s: %s: %v", c.what, what, err)
			}
			if _, err := m.List(ctx, zfs.Query{Roots: []string{"tank/in"}}); c.works != (err == nil) {
				t.Errorf("busy %s: what comes of %s: %v", c.what, what, err)
			}
		}
		check("receive", m, g.Receive(ctx, header, bytes.NewReader(data)))
		if err := g.Look(ctx, &replicationv1.LookRequest{Job: id}, func(*replicationv1.LookResponse) error { return nil }); err != nil {
			t.Errorf("busy %s: look: %v", c.what, err)
		}
		m, g = node()
		check("a placeholder", m, g.MakePlaceholder(ctx, &replicationv1.MakePlaceholderRequest{Job: id, FileSystem: "tank/in"}))
	}
}

// TestChecksumOfWhatIsLeftOut: what a job does not send is not read for it either.
func TestChecksumOfWhatIsLeftOut(t *testing.T) {
	const id = "11111111-2222-4333-8444-555555555555"
	job := replication.Job{
		ID: id, Direction: replication.Push, Roots: []replication.Root{{Source: "tank", Target: "other/in"}}, Filter: []replication.Rule{{Path: "tank/secret"}},
	}
	m := zfstest.New("node", "tank")
	g := NewGuard(t.Context(), m, nil, func(string) (Allowed, bool) { return Allowed{Name: "job", Job: job, Sends: true, Works: true}, true }, func(string) {})
	for name, want := range map[string]error{"tank/secret": server.ErrDenied, "tank": nil} {
		_, err := g.Checksum(t.Context(), &replicationv1.ChecksumRequest{Job: id, FileSystem: name})
		if denied := errors.Is(err, server.ErrDenied); denied != (want != nil) {
			t.Errorf("checksum of %s: %v", name, err)
		}
	}
}

// heeding is a system that looks at the context.
type heeding struct{ zfs.System }

// List implements zfs.System.
func (h heeding) List(ctx context.Context, q zfs.Query) ([]zfs.Dataset, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return h.System.List(ctx, q)
}

// TestFencedThoughTheCallerHangsUp: a tree that is half fenced would take writes.
func TestFencedThoughTheCallerHangsUp(t *testing.T) {
	const id = "11111111-2222-4333-8444-555555555555"
	job := replication.Job{ID: id, Direction: replication.Push, Roots: []replication.Root{{Source: "tank", Target: "other/in"}}}
	m := zfstest.New("node", "tank")
	g := NewGuard(t.Context(), heeding{m}, nil, func(string) (Allowed, bool) { return Allowed{Name: "job", Job: job, Sends: true}, true }, func(string) {})
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.Learn(gone, &replicationv1.LearnRequest{Job: id, Generation: 1, Primaries: []string{"tank"}}); err != nil {
		t.Error(err)
	}
	if err := m.Write(t.Context(), "tank", "late", []byte("x")); !errors.Is(err, zfs.ErrReadOnly) {
		t.Errorf("a write to the old primary: %v", err)
	}
}

// TestNotToldOfWhatIsNotThere: a tree whose pool is imported later would take writes, and nobody would tell of its fence once more.
func TestNotToldOfWhatIsNotThere(t *testing.T) {
	const id = "11111111-2222-4333-8444-555555555555"
	job := replication.Job{
		ID: id, Direction: replication.Push, Roots: []replication.Root{{Source: "tank/a", Target: "other/a"}, {Source: "tank/b", Target: "other/b"}},
	}
	m := zfstest.New("node", "tank")
	g := NewGuard(t.Context(), m, nil, func(string) (Allowed, bool) { return Allowed{Name: "job", Job: job, Sends: true}, true }, func(string) {})
	learn := func() error {
		return g.Learn(t.Context(), &replicationv1.LearnRequest{Job: id, Generation: 1, Primaries: job.Sources()})
	}
	for _, c := range []struct {
		name string
		want error
	}{{"tank/a", server.ErrUnavailable}, {"tank/b", nil}} {
		if err := m.Create(t.Context(), c.name, zfs.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := learn(); !errors.Is(err, c.want) {
			t.Errorf("with %s there: got %v, want %v", c.name, err, c.want)
		}
		if err := m.Write(t.Context(), c.name, "late", []byte("x")); !errors.Is(err, zfs.ErrReadOnly) {
			t.Errorf("a write to %s: %v", c.name, err)
		}
	}
}

// TestReadsAreBounded: of one job so many look at once, and others of another.
func TestReadsAreBounded(t *testing.T) {
	const id = "11111111-2222-4333-8444-555555555555"
	job := replication.Job{ID: id, Roots: []replication.Root{{Source: "alpha", Target: "tank/in"}}}
	g := NewGuard(t.Context(), zfstest.New("node", "tank"), nil, func(string) (Allowed, bool) {
		return Allowed{Name: "job", Job: job, Works: true, Tops: []string{"tank"}}, true
	}, func(string) {})
	look := func() error {
		return g.Look(t.Context(), &replicationv1.LookRequest{Job: id}, func(*replicationv1.LookResponse) error { return nil })
	}
	var ends []func()
	for range maxReads {
		end, err := g.read(id)
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, end)
	}
	if err := look(); !errors.Is(err, server.ErrUnavailable) {
		t.Errorf("one look more: %v", err)
	}
	if end, err := g.read("another"); err != nil {
		t.Errorf("of another job: %v", err)
	} else {
		end()
	}
	ends[0]()
	if err := look(); err != nil {
		t.Errorf("when one has ended: %v", err)
	}
	for _, end := range ends[1:] {
		end()
	}
	if len(g.reading) > 0 {
		t.Errorf("under way still: %v", g.reading)
	}
}
