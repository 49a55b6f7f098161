package supervise

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestRootReaper starts many children that exit at once, with ten thousand
// orphans coming in at the same time: every child's own status must arrive,
// and nothing may be left unreaped.
func TestRootReaper(t *testing.T) {
	if !asPID1(t) {
		return
	}
	const makers, orphansEach, children = 8, 1250, 200
	r := NewReaper()
	go r.Run(t.Context())
	var wg sync.WaitGroup
	check := func(c Command, want int) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			p, err := r.Start(c)
			if err != nil {
				t.Errorf("start: %v", err)
				return
			}
			<-p.Done()
			if got := p.Exit().Status.ExitStatus(); got != want || p.Exit().PID != p.PID {
				t.Errorf("child %d: %v of pid %d, want exit status %d", p.PID, p.Exit(), p.Exit().PID, want)
			}
		}()
	}
	for range makers {
		check(testCommand("orphans", orphansEach), 7)
	}
	for i := range children {
		check(testCommand("exit", i), i)
	}
	wg.Wait()
	deadline := time.Now().Add(30 * time.Second)
	for !r.Childless() {
		if time.Now().After(deadline) {
			t.Fatal("children are left after 30 s")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if got := r.Orphans(); got != makers*orphansEach {
		t.Errorf("reaped %d orphans, want %d", got, makers*orphansEach)
	}
}

// TestRootSignal: a process that was reaped cannot be signalled.
func TestRootSignal(t *testing.T) {
	if !asPID1(t) {
		return
	}
	r := NewReaper()
	go r.Run(t.Context())
	p, err := r.Start(testCommand("obedient", 0))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if got, want := p.Exit().String(), "signal killed"; got != want {
		t.Errorf("exit = %q, want %q", got, want)
	}
	if err := p.Signal(syscall.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("signal after the end: %v, want %v", err, os.ErrProcessDone)
	}
	if _, err := r.Start(Command{Path: "/nowhere"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("start of nothing: %v, want %v", err, os.ErrNotExist)
	}
	if _, err := r.Start(Command{Path: os.Args[0], Cgroup: "/proc/nowhere"}); err == nil {
		t.Error("start in a cgroup that cannot be: no error")
	}
}
