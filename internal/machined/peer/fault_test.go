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
