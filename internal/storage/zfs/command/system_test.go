package command

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// TestCalls: what each method runs.
func TestCalls(t *testing.T) {
	const listed = `{"output_version":{"vers_major":0},"datasets":{"tank/a":{"name":"tank/a","type":"%s","createtxg":"5",` +
		`"properties":{"guid":{"value":"7","source":{"type":"NONE","data":"-"}},"creation":{"value":"9","source":{"type":"NONE","data":"-"}}}}}}`
	filesystem, volume := strings.Replace(listed, "%s", "FILESYSTEM", 1), strings.Replace(listed, "%s", "VOLUME", 1)
	list := "list -j -p -o guid,creation -t filesystem,volume -d 0 -- tank/a"
	for _, c := range []struct {
		name    string
		do      func(context.Context, *System) error
		replies []reply
		want    []string
	}{
		{"create", func(ctx context.Context, s *System) error {
			return s.Create(ctx, "tank/a b", zfs.CreateOptions{Properties: map[string]string{"x:y": "", "atime": "off"}})
		}, nil, []string{"create -u -o atime=off -o x:y= -- tank/a b"}},
		{"create volume", func(ctx context.Context, s *System) error {
			return s.Create(ctx, "tank/v", zfs.CreateOptions{SizeBytes: 1 << 20, Sparse: true})
		}, nil, []string{"create -V 1048576 -s -- tank/v"}},
		{"set", func(ctx context.Context, s *System) error {
			return s.Set(ctx, "tank/a@s", map[string]string{"x:z": "a=b", "x:y": "-o"})
		}, nil, []string{"set -u -- x:y=-o x:z=a=b tank/a@s"}},
		{"set nothing", func(ctx context.Context, s *System) error { return s.Set(ctx, "tank", nil) }, nil, nil},
		{"inherit", func(ctx context.Context, s *System) error { return s.Inherit(ctx, "tank", "atime") }, nil, []string{"inherit -- atime tank"}},
		{"rename", func(ctx context.Context, s *System) error { return s.Rename(ctx, "tank/a@s", "tank/a@t") }, nil, []string{"rename -- tank/a@s tank/a@t"}},
		{"destroy", func(ctx context.Context, s *System) error { return s.Destroy(ctx, "tank/a#b") }, nil, []string{"destroy -- tank/a#b"}},
		{"snapshot", func(ctx context.Context, s *System) error {
			return s.Snapshot(ctx, []string{"tank/a@s", "tank@s"}, map[string]string{"x:y": "1"})
		}, nil, []string{"snapshot -o x:y=1 -- tank/a@s tank@s"}},
		{"snapshot nothing", func(ctx context.Context, s *System) error { return s.Snapshot(ctx, nil, nil) }, nil, nil},
		{"roll back", func(ctx context.Context, s *System) error { return s.Rollback(ctx, "tank@s") }, nil, []string{"rollback -- tank@s"}},
		{"clone", func(ctx context.Context, s *System) error {
			return s.Clone(ctx, "tank/a@s", "tank/c", map[string]string{"canmount": "on", "atime": "off"})
		}, []reply{{Args: []string{"list"}, Stdout: filesystem}},
			[]string{list, "clone -o atime=off -o canmount=noauto -- tank/a@s tank/c", "set -u -- canmount=on tank/c"}},
		{"clone without canmount", func(ctx context.Context, s *System) error { return s.Clone(ctx, "tank/a@s", "tank/c", nil) },
			[]reply{{Args: []string{"list"}, Stdout: filesystem}}, []string{list, "clone -o canmount=noauto -- tank/a@s tank/c"}},
		{"clone with canmount=off", func(ctx context.Context, s *System) error {
			return s.Clone(ctx, "tank/a@s", "tank/c", map[string]string{"canmount": "off"})
		}, []reply{{Args: []string{"list"}, Stdout: filesystem}}, []string{list, "clone -o canmount=off -- tank/a@s tank/c"}},
		{"clone volume", func(ctx context.Context, s *System) error { return s.Clone(ctx, "tank/a@s", "tank/c", nil) },
			[]reply{{Args: []string{"list"}, Stdout: volume}}, []string{list, "clone -- tank/a@s tank/c"}},
		{"promote", func(ctx context.Context, s *System) error { return s.Promote(ctx, "tank/c") }, nil, []string{"promote tank/c"}},
		{"bookmark", func(ctx context.Context, s *System) error { return s.Bookmark(ctx, "tank@s", "tank#b") }, nil, []string{"bookmark -- tank@s tank#b"}},
		{"abort", func(ctx context.Context, s *System) error { return s.AbortReceive(ctx, "tank/r") }, nil, []string{"receive -A -- tank/r"}},
		{"release", func(ctx context.Context, s *System) error { return s.Release(ctx, "a tag", "tank@s", "tank@t") }, nil,
			[]string{"release -- a tag tank@s tank@t"}},
		{"destroy snapshots", func(ctx context.Context, s *System) error {
			return s.DestroySnapshots(ctx, []string{"tank@t", "tank/a@s", "tank@t"})
		}, []reply{{Args: []string{"program"}, Stdout: `{"return":{}}`}}, []string{"program -j -- tank - tank/a@s tank@t"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, calls := fake(t, append(c.replies, reply{})...)
			if err := c.do(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, commandLines(calls())); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

func commandLines(calls []call) []string {
	var all []string
	for _, c := range calls {
		all = append(all, strings.Join(c.Args, " "))
	}
	return all
}

// TestRefused: what is no name, property, tag or pool is refused before a program runs.
func TestRefused(t *testing.T) {
	s, calls := fake(t)
	ctx := t.Context()
	for name, do := range map[string]func(string) error{
		"create":      func(n string) error { return s.Create(ctx, n, zfs.CreateOptions{}) },
		"set":         func(n string) error { return s.Set(ctx, n, map[string]string{"atime": "off"}) },
		"inherit":     func(n string) error { return s.Inherit(ctx, n, "atime") },
		"rename":      func(n string) error { return s.Rename(ctx, n, "tank/a") },
		"rename to":   func(n string) error { return s.Rename(ctx, "tank/a", n) },
		"destroy":     func(n string) error { return s.Destroy(ctx, n) },
		"destroy all": func(n string) error { return s.DestroySnapshots(ctx, []string{n}) },
		"snapshot":    func(n string) error { return s.Snapshot(ctx, []string{n}, nil) },
		"roll back":   func(n string) error { return s.Rollback(ctx, n) },
		"clone":       func(n string) error { return s.Clone(ctx, n, "tank/c", nil) },
		"clone to":    func(n string) error { return s.Clone(ctx, "tank@s", n, nil) },
		"promote":     func(n string) error { return s.Promote(ctx, n) },
		"bookmark":    func(n string) error { return s.Bookmark(ctx, n, "tank#b") },
		"bookmark as": func(n string) error { return s.Bookmark(ctx, "tank@s", n) },
		"hold":        func(n string) error { return s.Hold(ctx, "t", n) },
		"release":     func(n string) error { return s.Release(ctx, "t", n) },
		"holds":       func(n string) error { _, err := s.Holds(ctx, n); return err },
		"get":         func(n string) error { _, err := s.Get(ctx, n); return err },
		"list":        func(n string) error { _, err := s.List(ctx, zfs.Query{Roots: []string{n}}); return err },
		"send":        func(n string) error { _, err := s.Send(ctx, zfs.SendSpec{Snapshot: n}); return err },
		"send from": func(n string) error {
			_, err := s.Send(ctx, zfs.SendSpec{Snapshot: "tank@s", From: "-" + n})
			return err
		},
		"estimate": func(n string) error { _, err := s.Estimate(ctx, zfs.SendSpec{Snapshot: n}); return err },
		"receive":  func(n string) error { return s.Receive(ctx, zfs.ReceiveSpec{Name: n}, strings.NewReader("")) },
		"abort":    func(n string) error { return s.AbortReceive(ctx, n) },
		"tag":      func(n string) error { return s.Hold(ctx, "-"+n, "tank@s") },
		"property": func(n string) error { return s.Set(ctx, "tank", map[string]string{"-" + n: "1"}) },
		"exclude": func(n string) error {
			return s.Receive(ctx, zfs.ReceiveSpec{Name: "tank/a", Exclude: []string{"-" + n}}, nil)
		},
		"value":   func(n string) error { return s.Set(ctx, "tank", map[string]string{"x:y": n + "\x00"}) },
		"columns": func(n string) error { _, err := s.List(ctx, zfs.Query{Properties: []string{"used," + n}}); return err },
		"pool":    func(n string) error { _, err := s.run.program(ctx, n, ""); return err },
	} {
		for _, bad := range []string{"", "-r", "-", "/tank", "tank/", "tank//a", "tank/a@", "tank/a@s,t", "tank/a@s/t",
			"tank/a#b@c", "tank/a\n", "tänk", "1tank"} {
			if err := do(bad); !errors.Is(err, zfs.ErrInvalid) {
				t.Errorf("%s %q: got %v, want one that is not valid", name, bad, err)
			}
		}
	}
	for name, do := range map[string]func() error{
		"pool as file system": func() error { return s.Create(ctx, "tank", zfs.CreateOptions{}) },
		"sparse file system":  func() error { return s.Create(ctx, "tank/a", zfs.CreateOptions{Sparse: true}) },
		"size twice": func() error {
			return s.Create(ctx, "tank/a", zfs.CreateOptions{SizeBytes: 1, Properties: map[string]string{"volsize": "1"}})
		},
		"rename bookmark":        func() error { return s.Rename(ctx, "tank#a", "tank#b") },
		"rename to another pool": func() error { return s.Rename(ctx, "tank/a", "dozer/a") },
		"rename to snapshot":     func() error { return s.Rename(ctx, "tank/a", "tank/b@c") },
		"snapshot of two pools":  func() error { return s.Snapshot(ctx, []string{"tank@s", "dozer@s"}, nil) },
		"destroy in two pools":   func() error { return s.DestroySnapshots(ctx, []string{"tank@s", "dozer@s"}) },
		"snapshot with atime":    func() error { return s.Snapshot(ctx, []string{"tank@s"}, map[string]string{"atime": "off"}) },
		"file system is sent":    func() error { _, err := s.Send(ctx, zfs.SendSpec{Snapshot: "tank"}); return err },
		"token and properties": func() error {
			_, err := s.Send(ctx, zfs.SendSpec{ResumeToken: "1-2-3-4", Properties: true})
			return err
		},
		"property is a column": func() error { _, err := s.List(ctx, zfs.Query{Properties: []string{"9lives"}}); return err },
	} {
		if err := do(); !errors.Is(err, zfs.ErrInvalid) {
			t.Errorf("%s: got %v, want one that is not valid", name, err)
		}
	}
	if got := commandLines(calls()); got != nil {
		t.Errorf("a program ran: %q", got)
	}
}

func TestDestroySnapshotsRefused(t *testing.T) {
	answer := `{"return":{"tank@a":"held","tank@b":"cloned","tank@c":"busy","tank@d":"5","tank@e":"held","tank@f":"held","tank@g":"held"}}`
	s, calls := fake(t, reply{Read: -1, Stdout: answer})
	err := s.DestroySnapshots(t.Context(), []string{"tank@a"})
	for _, want := range []error{zfs.ErrHeld, zfs.ErrHasDependents, zfs.ErrBusy} {
		if !errors.Is(err, want) {
			t.Errorf("got %v, want one that %v", err, want)
		}
	}
	for _, want := range []string{"none is destroyed", "tank@d cannot be destroyed: input/output error", "and 2 more"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
	if got := calls()[0].Input; got != destroySource {
		t.Errorf("the program is %q", got)
	}
}

func TestDestroySnapshotsAnswers(t *testing.T) {
	for _, answer := range []string{"", "{}", "{", `{"return":[]}`, `{"return":{"tank@a":7}}`, `{"return":"x"}`, `{"return":null}`} {
		s, _ := fake(t, reply{Stdout: answer})
		if err := s.DestroySnapshots(t.Context(), []string{"tank@a"}); err == nil {
			t.Errorf("answer %q: no error", answer)
		}
	}
}
