package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

func TestRun(t *testing.T) {
	s, calls := fake(t, reply{Args: []string{"status"}, Stdout: "fine\n", Stderr: "a warning\n"})
	t.Setenv("LC_ALL", "de_DE.UTF-8")
	t.Setenv("ZFS_ABORT", "1")
	out, err := s.run.Zpool(t.Context(), "status", "-j", "tank")
	if err != nil || string(out) != "fine\n" {
		t.Errorf("got %q, %v", out, err)
	}
	want := []call{{Args: []string{"status", "-j", "tank"}, Env: []string{"LC_ALL=C", "TZ=UTC", "PATH=/usr/sbin:/usr/bin", "ZFS_VDEV_DEVID_OPT_OUT=YES"}}}
	if diff := cmp.Diff(want, calls()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestError(t *testing.T) {
	said := "cannot destroy 'tank/a': filesystem has children\nuse '-r' to destroy the following datasets:\ntank/a@s\n"
	s, _ := fake(t, reply{Stderr: said, Code: 1})
	err := s.Destroy(t.Context(), "tank/a")
	var e *Error
	if !errors.As(err, &e) || e.Said != said || e.Program != "zfs" || !errors.Is(err, zfs.ErrHasDependents) {
		t.Fatalf("got %+v", err)
	}
	want := "run zfs destroy -- tank/a: has dependents: exit status 1: cannot destroy 'tank/a': filesystem has children | " +
		"use '-r' to destroy the following datasets: | tank/a@s"
	if err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
}

func TestErrorIsShort(t *testing.T) {
	names := make([]string, 1000)
	for i := range names {
		names[i] = fmt.Sprintf("tank/a@%d", i)
	}
	usage := "\nusage:\n\tsnapshot [-r] [-o property=value] ...\nThe following properties are supported: dataset does not exist\n"
	s, _ := fake(t, reply{Stderr: strings.Repeat("something new\n", 10_000) + usage, Code: 2})
	err := s.Snapshot(t.Context(), names, nil)
	var e *Error
	if !errors.As(err, &e) || e.Class != nil {
		t.Fatalf("got %v", err)
	}
	if got := err.Error(); len(got) > 1500 || !strings.Contains(got, "(990 more arguments)") || strings.Contains(got, "usage") {
		t.Errorf("%d bytes: %s", len(got), got)
	}
}

// TestBounds: a program that writes without end is ended, and one that complains without end is heard out.
func TestBounds(t *testing.T) {
	s, _ := fake(t, reply{Args: []string{"a"}, Flood: maxOutputBytes + 1<<20}, reply{Args: []string{"b"}, Stderr: strings.Repeat("x", maxErrorBytes+1), Code: 1})
	if _, err := s.run.Zfs(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "wrote more than 64 MiB") {
		t.Errorf("flood: %v", err)
	}
	_, err := s.run.Zfs(t.Context(), "b")
	var e *Error
	if !errors.As(err, &e) || len(e.Said) != maxErrorBytes || !e.cut {
		t.Errorf("errors: %.200v", err)
	}
	if _, err := s.run.Zfs(t.Context(), strings.Repeat("x", maxArgsBytes)); err == nil || !strings.Contains(err.Error(), "do it in parts") {
		t.Errorf("arguments: %.200v", err)
	}
}

func TestNotStarted(t *testing.T) {
	for _, path := range []string{"", "zfs", "./zfs", "/no/such/zfs"} {
		s := NewSystem(Runner{ZFSPath: path})
		if err := s.Destroy(t.Context(), "tank/a"); err == nil || errors.Is(err, zfs.ErrNotExist) {
			t.Errorf("%q: got %v", path, err)
		}
		if _, err := s.Send(t.Context(), zfs.SendSpec{Snapshot: "tank@s"}); err == nil {
			t.Errorf("%q: a stream of nothing", path)
		}
		if err := s.Receive(t.Context(), zfs.ReceiveSpec{Name: "tank/a"}, strings.NewReader("")); err == nil {
			t.Errorf("%q: received", path)
		}
		if _, err := s.List(t.Context(), zfs.Query{}); err == nil {
			t.Errorf("%q: listed", path)
		}
	}
}

// TestContext: the end of the context is the program's, and the error says why.
func TestContext(t *testing.T) {
	s, _ := fake(t, reply{Hang: true})
	why := errors.New("no longer wanted")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(300*time.Millisecond, func() { cancel(why) })
	start := time.Now()
	if err := s.Destroy(ctx, "tank/a"); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
	if err := s.Destroy(ctx, "tank/a"); !errors.Is(err, why) {
		t.Errorf("begun after the end: %v", err)
	}
}

// TestGroup: it has a process group of its own, in which the signal finds what it may have started.
func TestGroup(t *testing.T) {
	p, err := newProcess(t.Context(), "/bin/true", nil)
	if err != nil {
		t.Fatal(err)
	}
	if !p.cmd.SysProcAttr.Setpgid || p.cmd.SysProcAttr.Pgid != 0 {
		t.Errorf("attributes %+v", p.cmd.SysProcAttr)
	}
	if slices.ContainsFunc(p.cmd.Environ(), func(s string) bool { return strings.HasPrefix(s, "HOME=") }) || os.Getenv("PATH") == "" {
		t.Errorf("environment %q", p.cmd.Environ())
	}
}

func TestPatterns(t *testing.T) {
	for i, p := range patterns() {
		said := "x" + p.text + "y"
		if strings.Join(strings.Fields(said), " ") != said {
			t.Errorf("%q is never found: it has white space other than single spaces, or around it", p.text)
		}
		for _, before := range patterns()[:i] {
			if strings.Contains(p.text, before.text) {
				t.Errorf("%q is never reached: %q is before it", p.text, before.text)
			}
		}
		if p.class == nil || !strings.Contains(p.source, ".c:") || strings.HasSuffix(p.source, ":") {
			t.Errorf("%q: class %v, source %q", p.text, p.class, p.source)
		}
	}
}

// TestNamesDoNotClassify: a dataset may be called as an error is.
func TestNamesDoNotClassify(t *testing.T) {
	name := "tank/x: dataset does not exist"
	s, _ := fake(t, reply{Stderr: "cannot open '" + name + "': something new\n", Code: 1})
	if err := s.Destroy(t.Context(), name); errors.Is(err, zfs.ErrNotExist) || err == nil {
		t.Errorf("got %v", err)
	}
}
