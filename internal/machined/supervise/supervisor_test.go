package supervise

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/machined/supervise/control"
)

// newTestSupervisor runs a Supervisor of the programs in TestMain.
func newTestSupervisor(t *testing.T, ready func([]byte)) *Supervisor {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	logs, err := NewLogs(t.TempDir(), log)
	if err != nil {
		t.Fatal(err)
	}
	r := NewReaper()
	policy := Policy{FirstDelay: time.Millisecond, MaxDelay: 5 * time.Millisecond, Steady: time.Hour, StopTimeout: 200 * time.Millisecond}
	s := New(r, logs, log, []Service{
		{Name: "obedient", Command: testCommand("obedient", 0), Policy: policy, Tee: ready},
		{Name: "stubborn", Command: testCommand("stubborn", 0), Policy: policy, Tee: ready},
		{Name: "crashing", Command: testCommand("exit", 9), Policy: policy},
		{Name: "absent", Command: Command{Path: "/nowhere"}, Policy: policy},
	})
	go r.Run(t.Context())
	go s.Run(t.Context())
	return s
}

func TestRootSupervisor(t *testing.T) {
	if !asPID1(t) {
		return
	}
	ready := make(chan string, 16)
	s := newTestSupervisor(t, func(line []byte) { ready <- string(line) })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.Start(ctx, "obedient"))
	must(s.Start(ctx, "obedient"))
	<-ready
	first := s.Status()[0].PID
	must(s.Restart(ctx, "obedient"))
	<-ready
	if second := s.Status()[0]; second.PID == first || second.State != "running" || second.LastExit != "signal terminated" {
		t.Errorf("after a restart: %+v, first pid was %d", second, first)
	}
	must(s.Stop(ctx, "obedient"))
	must(s.Start(ctx, "stubborn"))
	<-ready
	must(s.Stop(ctx, "stubborn"))
	must(s.Start(ctx, "stubborn"))
	<-ready
	must(s.Retire(ctx, "stubborn", syscall.SIGKILL))
	must(s.Retire(ctx, "stubborn", syscall.SIGKILL))
	if err := s.Start(ctx, "absent"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("start of an absent program: %v, want %v", err, os.ErrNotExist)
	}
	must(s.Stop(ctx, "absent"))
	if err := s.Start(ctx, "nobody"); !errors.Is(err, ErrUnknownService) {
		t.Errorf("start of an unknown service: %v, want %v", err, ErrUnknownService)
	}
	var got []control.Service
	for _, v := range s.Status() {
		v.Since, v.Restarts = time.Time{}, 0
		got = append(got, v)
	}
	want := []control.Service{
		{Name: "obedient", State: "stopped", LastExit: "signal terminated"},
		{Name: "stubborn", State: "stopped", LastExit: "signal killed"},
		{Name: "crashing", State: "stopped"},
		{Name: "absent", State: "stopped", LastExit: "start /nowhere: no such file or directory"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestRootSupervisorRestartsWhatCrashes(t *testing.T) {
	if !asPID1(t) {
		return
	}
	s := newTestSupervisor(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.Start(ctx, "crashing"); err != nil {
		t.Fatal(err)
	}
	for s.Status()[2].Restarts < 3 {
		if ctx.Err() != nil {
			t.Fatalf("status = %+v, want 3 restarts", s.Status()[2])
		}
		time.Sleep(time.Millisecond)
	}
	if err := s.Stop(ctx, "crashing"); err != nil {
		t.Fatal(err)
	}
	if got := s.Status()[2]; got.State != "stopped" || got.LastExit == "" {
		t.Errorf("status = %+v, want it stopped, with its last exit", got)
	}
}

func TestRootLogs(t *testing.T) {
	if !asPID1(t) {
		return
	}
	dir := t.TempDir()
	logs, err := NewLogs(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var lines atomic.Int64
	out, err := logs.Pipe("printer", func([]byte) { lines.Add(1) })
	if err != nil {
		t.Fatal(err)
	}
	r := NewReaper()
	go r.Run(t.Context())
	c := testCommand("print", 1000)
	c.Output = out
	p, err := r.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	out.Close()
	<-p.Done()
	waitFor(t, func() bool { return lines.Load() == 1000 })
	raw, err := os.ReadFile(filepath.Join(dir, "printer.log"))
	if err != nil || !strings.HasPrefix(string(raw), "line 0\nline 1\n") || !strings.HasSuffix(string(raw), "line 999\n") {
		t.Errorf("log has %d bytes, err %v; want lines 0 to 999", len(raw), err)
	}
}

func TestFIFO(t *testing.T) {
	dir := t.TempDir()
	logs, err := NewLogs(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	path, err := logs.FIFO("etcd")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := logs.FIFO("etcd"); again != path || err != nil {
		t.Errorf("second FIFO = %q, %v; want the first, %q", again, err, path)
	}
	// Two writers, one after the other: the ring must outlive the first.
	for _, text := range []string{"one\n", "two\n"} {
		if err := os.WriteFile(path, []byte(text), 0); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, func() bool {
		raw, _ := os.ReadFile(filepath.Join(dir, "etcd.log"))
		return string(raw) == "one\ntwo\n"
	})
	for i := range maxFIFOs - 1 {
		if _, err := logs.FIFO("log-" + string(rune('a'+i%26)) + string(rune('a'+i/26))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := logs.FIFO("one-more"); err == nil {
		t.Errorf("log %d was opened, want an error", maxFIFOs+1)
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("did not come true in 10 s")
		}
	}
}
