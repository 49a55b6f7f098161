package peer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
)

// TestClassesCross: each class of errors is the same class on the other side, and no other.
func TestClassesCross(t *testing.T) {
	for number := range replicationv1.Class_name {
		found := 0
		for _, c := range classes() {
			if int32(c.number) == number {
				found++
			}
		}
		if want := min(number, 1); int32(found) != want {
			t.Errorf("class %d is in the table %d times", number, found)
		}
	}
	for _, c := range classes() {
		text := "step: " + strings.Repeat("x", 100)
		got := fromStatus(t.Context(), toStatus(fmt.Errorf("%s: %w", text, c.err)))
		for _, other := range classes() {
			if is := errors.Is(got, other.err); is != (other.err == c.err) {
				t.Errorf("%v: it is %v on the other side: %t", c.err, other.err, is)
			}
		}
		if !strings.Contains(got.Error(), text) {
			t.Errorf("%v: its text is %q", c.err, got)
		}
	}
	two := fromStatus(t.Context(), toStatus(errors.Join(zfs.ErrBadStream, zfs.ErrNoSpace)))
	if !errors.Is(two, zfs.ErrBadStream) || !errors.Is(two, zfs.ErrNoSpace) {
		t.Errorf("an error of two classes: %v", two)
	}
}

// TestConflictCrosses: what a person has to decide is the same on the other side, to the letter.
func TestConflictCrosses(t *testing.T) {
	want := &replication.Conflict{
		Kind: replication.Diverged, Source: "a/b", Target: "c/d", Detail: "it has more", Options: []replication.Decision{
			{Kind: replication.RollBack, Target: "c/d", To: 1<<63 + 5, Destroys: []string{"@x", "#y"}, Changes: true},
			{Kind: replication.SetAside, Target: "c/d", Name: "c/d.aside-01"},
		},
	}
	got := fromStatus(t.Context(), toStatus(fmt.Errorf("receive: %w", want)))
	var c *replication.Conflict
	if !errors.As(got, &c) {
		t.Fatalf("got %v", got)
	}
	if d := cmp.Diff(want, c); d != "" {
		t.Errorf("conflict (-want +got):\n%s", d)
	}
	for i, o := range want.Options {
		if back := decisionOf(DecisionToProto(o)); !back.Equal(o) || back.String() != DecisionToProto(c.Options[i]).GetText() {
			t.Errorf("decision %v became %v", o, back)
		}
	}
}

func TestOtherErrors(t *testing.T) {
	for _, err := range []error{server.ErrDenied, context.Canceled, errors.New("disk on fire")} {
		if got := toStatus(err); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
	if toStatus(nil) != nil || fromStatus(t.Context(), nil) != nil {
		t.Error("none is some")
	}
	for code, class := range map[codes.Code]error{
		codes.PermissionDenied: ErrRefused, codes.Unauthenticated: ErrRefused, codes.Unimplemented: replication.ErrUnsupported,
		codes.DeadlineExceeded: replication.ErrStalled,
	} {
		if got := fromStatus(t.Context(), status.Error(code, "no")); !errors.Is(got, class) || !strings.Contains(got.Error(), "no") {
			t.Errorf("%v: got %v", code, got)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("it steps aside")
	cancel(why)
	if got := fromStatus(ctx, status.Error(codes.Canceled, "cancelled")); got != why {
		t.Errorf("after the end of the context: %v", got)
	}
	long := fromStatus(t.Context(), toStatus(fmt.Errorf("%s: %w", strings.Repeat("ä", 5000), zfs.ErrBusy)))
	if n := len(long.Error()); n > maxTextBytes+100 || !errors.Is(long, zfs.ErrBusy) {
		t.Errorf("a long text has %d bytes", n)
	}
}

// asked calls a method of a guard with the bytes of a request, whose job it is told.
func asked(g *Guard, method uint8, data []byte, job string) {
	ctx, drop := context.Background(), func(*replicationv1.LookResponse) error { return nil }
	read := func(m proto.Message) bool { return proto.Unmarshal(data, m) == nil }
	switch method % 14 {
	case 0:
		if m := (&replicationv1.LookRequest{}); read(m) {
			m.Job = job
			_ = g.Look(ctx, m, drop)
		}
	case 1:
		if m := (&replicationv1.LearnRequest{}); read(m) {
			m.Job = job
			_ = g.Learn(ctx, m)
		}
	case 2:
		if m := (&replicationv1.CleanRequest{}); read(m) {
			m.Job = job
			_ = g.Clean(ctx, m)
		}
	case 3:
		if m := (&replicationv1.ChecksumRequest{}); read(m) {
			m.Job = job
			_, _ = g.Checksum(ctx, m)
		}
	case 4:
		if m := (&replicationv1.EstimateRequest{}); read(m) && m.Part != nil {
			m.Part.Job = job
			_, _ = g.Estimate(ctx, m)
		}
	case 5:
		if m := (&replicationv1.ProtectRequest{}); read(m) {
			m.Job = job
			_ = g.Protect(ctx, m)
		}
	case 6:
		if m := (&replicationv1.SendRequest{}); read(m) && m.Part != nil {
			m.Part.Job = job
			_ = g.Send(ctx, m, func([]byte) error { return nil })
		}
	case 7:
		if m := (&replicationv1.AdvanceRequest{}); read(m) {
			m.Job = job
			_ = g.Advance(ctx, m)
		}
	case 8:
		if m := (&replicationv1.FreezeRequest{}); read(m) {
			m.Job = job
			_ = g.Freeze(ctx, m)
		}
	case 9:
		if m := (&replicationv1.MakePlaceholderRequest{}); read(m) {
			m.Job = job
			_ = g.MakePlaceholder(ctx, m)
		}
	case 10:
		if m := (&replicationv1.ReceiveHeader{}); read(m) {
			m.Job = job
			_ = g.Receive(ctx, m, strings.NewReader("no stream"))
		}
	case 11:
		if m := (&replicationv1.AbortRequest{}); read(m) {
			m.Job = job
			_ = g.Abort(ctx, m)
		}
	case 12:
		if m := (&replicationv1.CompleteRequest{}); read(m) {
			m.Job = job
			_ = g.Complete(ctx, m)
		}
	case 13:
		if m := (&replicationv1.ResolveRequest{}); read(m) {
			m.Job = job
			_ = g.Resolve(ctx, m)
		}
	}
}

// FuzzRequest: whatever another node asks for, what its job does not name stays as it is.
func FuzzRequest(f *testing.F) {
	for method := range uint8(14) {
		f.Add(method, true, []byte("\x1a\x09tank/mine"))
	}
	f.Fuzz(func(t *testing.T, method uint8, sends bool, data []byte) {
		m := zfstest.New("node", "tank")
		ctx := t.Context()
		for _, name := range []string{"tank/mine", "tank/job", "tank/job/x"} {
			if err := errors.Join(m.Create(ctx, name, zfs.CreateOptions{}), m.Snapshot(ctx, []string{name + "@s"}, nil)); err != nil {
				t.Fatal(err)
			}
		}
		const id = "11111111-2222-4333-8444-555555555555"
		if err := m.Hold(ctx, replication.LastTag(id), "tank/mine@s"); err != nil {
			t.Fatal(err)
		}
		j := replication.Job{
			ID: id, Direction: replication.Push, Roots: []replication.Root{{Source: "tank/job", Target: "tank/job"}}, Initial: replication.All,
			InitialGuarantee: replication.Resumable, Guarantee: replication.Resumable, Filter: []replication.Rule{{Path: "tank/job/out"}},
		}
		before := part(m.String(), "tank/mine")
		g := NewGuard(ctx, m, nil, func(string) (Allowed, bool) {
			return Allowed{Name: "job", Job: j, Sends: sends, Works: true, Back: sends, Tops: []string{"tank/job"}}, true
		}, func(string) {})
		asked(g, method, data, id)
		if after := part(m.String(), "tank/mine"); after != before || before == "" {
			t.Errorf("what the job does not name has changed:\n%s\nand was\n%s", after, before)
		}
		for line := range strings.Lines(m.String()) {
			if _, name, ok := strings.Cut(line, "filesystem "); ok && !strings.HasPrefix(name, "tank ") && !strings.HasPrefix(name, "tank/mine ") && !strings.HasPrefix(name, "tank/job") {
				t.Errorf("something was made: %s", line)
			}
		}
	})
}

// part is what a model prints of a dataset.
func part(text, name string) string {
	_, rest, found := strings.Cut(text, " "+name+" ")
	if !found {
		return ""
	}
	if i := strings.Index(rest, "\nfilesystem "); i >= 0 {
		rest = rest[:i]
	}
	return rest
}

// FuzzListing: whatever another node sends for a listing, it is refused or can be used.
func FuzzListing(f *testing.F) {
	whole := &replicationv1.LookResponse{
		Roots: []*replicationv1.RootState{{Name: "tank/a", Exists: true, Generation: 3}},
		FileSystems: []*replicationv1.FileSystem{
			{Name: "tank/a", Kind: replicationv1.Kind_KIND_FILESYSTEM, Guid: 7, Versions: []*replicationv1.Version{{Name: "one", Guid: 8}}},
			{Name: "tank/a", Versions: []*replicationv1.Version{{Name: "two", Guid: 9, Bookmark: true}}},
		},
	}
	for _, m := range []*replicationv1.LookResponse{whole, {}, {FileSystems: []*replicationv1.FileSystem{{Name: "tank/a@b"}}}} {
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m := &replicationv1.LookResponse{}
		if proto.Unmarshal(data, m) != nil {
			return
		}
		var l replication.Listing
		if gather(&l, m) != nil {
			return
		}
		for i := range l.FileSystems {
			fs := &l.FileSystems[i]
			if _, err := zfs.ParseDataset(fs.Name); err != nil {
				t.Errorf("a file system is called %q", fs.Name)
			}
			for _, v := range fs.Versions {
				if _, err := zfs.ParseName(fs.Whole(v)); err != nil {
					t.Errorf("%q and %q make no name: %v", fs.Name, v.Name, err)
				}
			}
			fs.Received()
			fs.Changed()
		}
		l.Generation()
	})
}
