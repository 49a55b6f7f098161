package dhcp

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/network"
)

var errSilent = errors.New("no answer")

// script is an Exchange that answers as a test says and notes when it was asked.
type script struct {
	mu     sync.Mutex
	start  time.Time
	calls  []string
	answer func(call string, age time.Duration) error
	life   time.Duration
}

func (s *script) do(call string) (Grant, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	age := time.Since(s.start)
	s.calls = append(s.calls, call+" "+age.Round(time.Second).String())
	if err := s.answer(call, age); err != nil {
		return Grant{}, err
	}
	return Grant{
		Lease: network.Lease{Address: netip.MustParsePrefix("10.5.0.7/24"), Expires: time.Now().Add(s.life)},
		Renew: s.life / 2, Rebind: s.life * 7 / 8,
	}, nil
}

func (s *script) Request(context.Context, string) (Grant, error) { return s.do("request") }

func (s *script) Renew(_ context.Context, _ string, _ Grant, rebind bool) (Grant, error) {
	if rebind {
		return s.do("rebind")
	}
	return s.do("renew")
}

// play runs a client against a script for some time and returns what the script was asked, and the leases that were set.
func play(t *testing.T, run time.Duration, answer func(string, time.Duration) error) (calls []string, leases []bool) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &script{start: time.Now(), answer: answer, life: time.Hour}
		ctx, cancel := context.WithTimeout(t.Context(), run)
		defer cancel()
		keep(ctx, s, "eth0", slog.New(slog.DiscardHandler), nil, func(l *network.Lease) { leases = append(leases, l != nil) })
		calls = s.calls
	})
	return calls, leases
}

func TestRenewsAtHalfLife(t *testing.T) {
	calls, leases := play(t, 100*time.Minute, func(string, time.Duration) error { return nil })
	want := []string{"request 0s", "renew 30m0s", "renew 1h0m0s", "renew 1h30m0s"}
	if d := cmp.Diff(want, calls); d != "" {
		t.Errorf("calls (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]bool{true, true, true, true}, leases); d != "" {
		t.Errorf("leases (-want +got):\n%s", d)
	}
}

func TestRebindsAndExpires(t *testing.T) {
	calls, leases := play(t, 61*time.Minute, func(call string, age time.Duration) error {
		if age == 0 {
			return nil
		}
		return errSilent
	})
	// RFC 2131 section 4.4.5: half of what is left to T2 (52 m 30 s), then half of what is left to the end, at least a minute.
	want := []string{
		"request 0s", "renew 30m0s", "renew 41m15s", "renew 46m53s", "renew 49m41s", "renew 51m6s", "renew 52m6s",
		"rebind 53m6s", "rebind 56m33s", "rebind 58m16s", "rebind 59m16s", "rebind 1h0m0s", "request 1h0m0s",
	}
	if len(calls) < len(want) {
		t.Fatalf("calls: %v", calls)
	}
	if d := cmp.Diff(want, calls[:len(want)]); d != "" {
		t.Errorf("calls (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]bool{true, false}, leases); d != "" {
		t.Errorf("leases (-want +got):\n%s", d)
	}
}

func TestRefusalStartsAnew(t *testing.T) {
	calls, leases := play(t, 31*time.Minute, func(call string, age time.Duration) error {
		if call == "renew" {
			return ErrRefused
		}
		return nil
	})
	if d := cmp.Diff([]string{"request 0s", "renew 30m0s", "request 30m0s"}, calls); d != "" {
		t.Errorf("calls (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]bool{true, false, true}, leases); d != "" {
		t.Errorf("leases (-want +got):\n%s", d)
	}
}

func TestBacksOffWhileNobodyAnswers(t *testing.T) {
	calls, leases := play(t, 10*time.Minute, func(string, time.Duration) error { return errSilent })
	if len(calls) < 20 || len(calls) > 40 || len(leases) != 0 {
		t.Errorf("%d requests and %d leases in ten minutes without a server, want 20 to 40 and none", len(calls), len(leases))
	}
}

func TestStopForgetsTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		woken := 0
		var mu sync.Mutex
		s := &script{start: time.Now(), answer: func(string, time.Duration) error { return nil }, life: time.Hour}
		c := New(s, func() { mu.Lock(); woken++; mu.Unlock() }, nil)
		c.Start("eth0")
		c.Start("eth0")
		synctest.Wait()
		if l := c.Clients()["eth0"]; l == nil || woken != 1 {
			t.Errorf("lease %v and %d wakes, want one of each", l, woken)
		}
		c.Stop("eth0")
		if got := c.Clients(); len(got) != 0 {
			t.Errorf("clients after the stop: %v", got)
		}
		c.Close()
	})
}

// TestRefusedLease: a lease that the domain refuses is let go of, and shown as that until a server has leased another address.
func TestRefusedLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{start: time.Now(), answer: func(string, time.Duration) error { return nil }, life: time.Hour}
		c := New(s, func() {}, nil)
		defer c.Close()
		c.Start("eth0")
		synctest.Wait()
		before := c.Clients()["eth0"]
		c.Refuse("eth0", netip.MustParsePrefix("10.5.0.8/24"))
		if l := c.Clients()["eth0"]; l != before || l.Refused {
			t.Errorf("another address was refused: got %+v", l)
		}
		for range 2 { // twice is once
			c.Refuse("eth0", before.Address)
		}
		c.Refuse("eth1", before.Address)
		if l := c.Clients()["eth0"]; !l.Refused || l.Address != before.Address || before.Refused {
			t.Errorf("refused: got %+v, and before %+v", l, before)
		}
		time.Sleep(afterRefusal - time.Second)
		if l := c.Clients()["eth0"]; !l.Refused {
			t.Errorf("before it asks again: got %+v", l)
		}
		time.Sleep(2 * time.Second)
		if l := c.Clients()["eth0"]; l.Refused {
			t.Errorf("the next lease: got %+v", l)
		}
		time.Sleep(31 * time.Minute)
		synctest.Wait()
		want := []string{"request 0s", "request 1m0s", "renew 31m0s"}
		if d := cmp.Diff(want, s.calls); d != "" {
			t.Errorf("calls (-want +got):\n%s", d)
		}
	})
}
