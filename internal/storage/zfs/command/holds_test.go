package command

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

func TestHolds(t *testing.T) {
	s, _ := fake(t, reply{Stdout: "tank@1\ttag\t1764160000\ntank@1\tan old\ttag\t1764160001\ntank@2\tof two\nlines\t5\n"})
	got, err := s.Holds(t.Context(), "tank@1", "tank@2", "tank@3")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]zfs.Hold{
		"tank@1": {{Tag: "an old\ttag", Since: 1764160001}, {Tag: "tag", Since: 1764160000}}, "tank@2": {{Tag: "of two\nlines", Since: 5}}, "tank@3": nil,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("holds (-want +got):\n%s", diff)
	}
	for _, text := range []string{"tank@9\ttag\t1\n", "tank@1\ttag\n", "tank@1\ttag\tsoon\n", "tank@1\t1\n", "x"} {
		if got, err := parseHolds(text, []string{"tank@1"}); err == nil {
			t.Errorf("%q: got %v", text, got)
		}
	}
	if got, err := s.Holds(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("of none: %v, %v", got, err)
	}
}

func TestHold(t *testing.T) {
	const (
		hold   = "hold -- tag tank@1 tank@2 tank@3"
		held   = "cannot hold snapshot 'tank@%d': tag already exists on this dataset\n"
		gone   = "cannot hold snapshot 'tank@2': dataset does not exist\n"
		noRoom = "cannot hold: out of space\n"
	)
	one := fmt.Sprintf(held, 1)
	for _, c := range []struct {
		what, said string
		undone     string
		class      error
	}{
		{"made", "", "", nil},
		{"one was held before", one, "", nil},
		{"all were", one + fmt.Sprintf(held, 2) + fmt.Sprintf(held, 3), "", nil},
		{"one is gone", gone, "release -- tag tank@1 tank@3", zfs.ErrNotExist},
		{"one is gone, and one was held before", one + gone, "release -- tag tank@3", zfs.ErrNotExist},
		{"none is there", "cannot open 'tank': dataset does not exist\n", "", zfs.ErrNotExist},
		{"which one is not said", noRoom, "", zfs.ErrNoSpace},
		{"nor beside one that was held before", one + noRoom, "", zfs.ErrNoSpace},
	} {
		s, calls := fake(t, reply{Args: []string{"hold"}, Stderr: c.said, Code: min(len(c.said), 1)}, reply{Args: []string{"release"}})
		if err := s.Hold(t.Context(), "tag", "tank@3", "tank@1", "tank@2", "tank@1"); !errors.Is(err, c.class) {
			t.Errorf("%s: got %v", c.what, err)
		}
		want := []string{hold}
		if c.undone != "" {
			want = append(want, c.undone)
		}
		if diff := cmp.Diff(want, commandLines(calls())); diff != "" {
			t.Errorf("%s: calls (-want +got):\n%s", c.what, diff)
		}
	}
	s, calls := fake(t, reply{Args: []string{"hold"}, Code: 1})
	if err := s.Hold(t.Context(), "tag", "tank@1", "tank@2"); err == nil || len(calls()) != 1 {
		t.Errorf("failed without a word: %v after %d calls", err, len(calls()))
	}
	s, calls = fake(t)
	if err := s.Hold(t.Context(), "tag"); err != nil || len(calls()) != 0 {
		t.Errorf("of none: %v after %d calls", err, len(calls()))
	}
}

// TestHoldEnded: a program that was ended has not said what it made and what was held before, so that none of it is taken away.
func TestHoldEnded(t *testing.T) {
	const said = "cannot hold snapshot 'tank@1': dataset does not exist\n"
	ended := &Error{Program: "zfs", Said: said, Cause: context.Canceled}
	if made, err := afterHold(ended, []string{"tank@1", "tank@2"}); len(made) > 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("got %q, %v", made, err)
	}
}

func TestRelease(t *testing.T) {
	const gone = "cannot release hold from snapshot 'tank@1': no such tag on this dataset\n"
	const none = "cannot release hold from snapshot 'tank@2': dataset does not exist\n"
	const busy = "cannot release hold from snapshot 'tank@3': dataset is busy\n"
	for said, fine := range map[string]bool{
		gone: true, none: true, gone + none: true, gone + busy: false, busy: false, "": false, "something new\n": false,
		strings.Repeat(gone, maxErrorBytes/len(gone)+1): false,
	} {
		s, _ := fake(t, reply{Stderr: said, Code: 1})
		if err := s.Release(t.Context(), "tag", "tank@1"); (err == nil) != fine {
			t.Errorf("%.300q: got %.300v", said, err)
		}
	}
}

func TestToken(t *testing.T) {
	const text = "resume token contents:\nnvlist version: 0\n\tfromguid = 0xfedcba9876543210\n\tobject = 0x2\n\toffset = 0x18a0000\n\tbytes = 0x1891f38\n" +
		"\ttoguid = 0x5fe0bbee1a96e7ff\n\ttoname = tank/a b@s\n\tcompressok = 1\n"
	want := zfs.Token{ToName: "tank/a b@s", To: 0x5fe0bbee1a96e7ff, From: 0xfedcba9876543210, BytesReceived: 0x1891f38, Large: true}
	for what, r := range map[string]reply{
		"on the sender":   {Stdout: text + "incremental\ttank/a@r\ttank/a@s\t12\nsize\t12\n"},
		"on the receiver": {Stdout: text, Stderr: "cannot resume send: 'tank/a b@s' used in the initial send no longer exists\n", Code: 255},
	} {
		s, calls := fake(t, r)
		got, err := s.Token(t.Context(), "1-ab12-3-4")
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", what, err, diff)
		}
		if diff := cmp.Diff([]string{"send -n -P -t 1-ab12-3-4"}, commandLines(calls())); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
	}
	s, _ := fake(t, reply{Stderr: "cannot resume send: resume token is corrupt (incorrect checksum)\n", Code: 255})
	if _, err := s.Token(t.Context(), "1-2-3-4"); !errors.Is(err, zfs.ErrBadToken) {
		t.Errorf("damaged: %v", err)
	}
	s, calls := fake(t)
	for _, token := range []string{
		"", "nonsense", "-", "1-2-3", "2-1-2-3", "1-2-3-4-5", "1-x-3-4", "1-2-3-", "1-2-ffffffff-4", "1-2-3-4 -n",
		"1-" + strings.Repeat("a", maxTokenBytes),
	} {
		if _, err := s.Token(t.Context(), token); !errors.Is(err, zfs.ErrBadToken) {
			t.Errorf("%.40q: %v", token, err)
		}
		if token == "" {
			continue
		}
		if _, err := s.Send(t.Context(), zfs.SendSpec{ResumeToken: token}); !errors.Is(err, zfs.ErrBadToken) {
			t.Errorf("send %.40q: %v", token, err)
		}
	}
	if len(calls()) != 0 {
		t.Errorf("calls: %v", calls())
	}
}

func TestParseToken(t *testing.T) {
	const head = "resume token contents:\nnvlist version: 0\n"
	got, err := parseToken(head + "\tbytes = 0x1\n\ttoguid = 0x2\n\ttoname = tank@s\n\trawok = 1\n")
	if diff := cmp.Diff(zfs.Token{ToName: "tank@s", To: 2, BytesReceived: 1, Raw: true}, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, text := range []string{
		"", head, "\ttoguid = 0x2\n", head + "\tbytes = 0x1\n\ttoguid = 0x2\n\ttoname = tank\n", head + "\ttoguid = 0x2\n\ttoname = tank@s\n",
		head + "\tbytes = 0x1\n\ttoguid = x\n\ttoname = tank@s\n", head + "\tbytes = 0x1\n\ttoguid = 0x2\n\ttoname = tank@s\n\tfromguid = no\n",
	} {
		if got, err := parseToken(text); err == nil {
			t.Errorf("%q: got %+v", text, got)
		}
	}
}
