package machined

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/timesync"
	"github.com/cyvive/cyvive/internal/machined/upgrade"
	"github.com/cyvive/cyvive/internal/network"
	"github.com/cyvive/cyvive/internal/storagetest"
)

// still is a clock that is right.
type still struct{ slews atomic.Int32 }

func (*still) Step(time.Duration) error { return errors.New("it is set") }

func (s *still) Slew(time.Duration, time.Duration, time.Duration) error {
	s.slews.Add(1)
	return nil
}

func (*still) Kept() bool { return false }

// TestClock: a node that DHCP names a time server to asks it, says what it waits for, and what it found is part of its health.
func TestClock(t *testing.T) {
	t.Parallel()
	var answers atomic.Bool
	clock := &still{}
	n := startNodeWith(t, t.TempDir(), storagetest.New(1<<30), func(c *Config) {
		c.Clock = clock
		c.AskTime = func(_ context.Context, server string) (timesync.Sample, error) {
			if !answers.Load() {
				return timesync.Sample{}, errors.New("no answer")
			}
			return timesync.Sample{Server: server, Offset: time.Millisecond, Distance: time.Millisecond}, nil
		}
	})
	n.source.set(standalone(t))
	n.await("the network", func(s snapshot) bool { return healthy(s, "network") })
	if got := reasonOf(n.snapshot(), "time"); got != "there is no check time" {
		t.Errorf("without a server: %s", got)
	}
	doubts := func(want string, uptime time.Duration) {
		t.Helper()
		if got := n.clockDoubt(uptime); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("after %s the clock is in doubt for %q, want %q", uptime, got, want)
		}
	}
	doubts("", 0)
	lease := &network.Lease{Address: netip.MustParsePrefix("10.5.0.7/24"), TimeServers: []netip.Addr{netip.MustParseAddr("10.5.0.1")}}
	n.dhcp.Grant("eth0", lease)
	n.wakers[plan.Network].Wake()
	n.await("the reason", func(s snapshot) bool {
		return strings.Contains(reasonOf(s, "time"), "no time server tells the time: 10.5.0.1: no answer")
	})
	doubts("10.5.0.1: no answer", 0)
	doubts("", time.Hour)
	answers.Store(true)
	n.await("the time", func(s snapshot) bool { return healthy(s, "time") })
	doubts("", 0)
	if clock.slews.Load() == 0 {
		t.Error("the clock was not corrected")
	}
}

// TestTimeGate: servers that the configuration names have to answer a release that is to stay. Those of DHCP need not.
func TestTimeGate(t *testing.T) {
	dead := timesync.Status{Servers: []string{"10.5.0.1"}, Reason: "no time server tells the time"}
	of := func(status timesync.Status, servers ...string) (found []upgrade.Gate) {
		s := snapshot{clock: status, input: plan.Input{Config: &config.Config{Machine: config.Machine{Time: config.Time{Servers: servers}}}}}
		s.checks = timeHealth(s)
		if len(s.checks) != 1 || s.checks[0].Aside != (len(servers) == 0) {
			t.Errorf("servers %q of the configuration: the checks are %+v", servers, s.checks)
		}
		for _, g := range gates(s) {
			if g.Name == timeCheck {
				found = append(found, g)
			}
		}
		return found
	}
	if got := of(dead); len(got) > 0 {
		t.Errorf("dead servers of DHCP: a gate %+v", got)
	}
	if d := cmp.Diff([]upgrade.Gate{{Name: timeCheck, Reason: dead.Reason}}, of(dead, "10.5.0.1")); d != "" {
		t.Errorf("dead servers of the configuration (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]upgrade.Gate{{Name: timeCheck, Holds: true}}, of(timesync.Status{Servers: dead.Servers, Synchronised: true}, "10.5.0.1")); d != "" {
		t.Errorf("servers that answer (-want +got):\n%s", d)
	}
}

// TestClockThatWasSet: the API's certificate is looked at again by the new time.
func TestClockThatWasSet(t *testing.T) {
	var before, after snapshot
	after.clock.Steps = 1
	if i := before.certificateInputs(); i.equal(after.certificateInputs()) || !i.equal(before.certificateInputs()) {
		t.Error("a clock that was set changes nothing about the certificate")
	}
}

func TestTimeServers(t *testing.T) {
	var s snapshot
	s.network.Status.TimeServers = []netip.Addr{netip.MustParseAddr("10.5.0.1")}
	if got := s.timeServers(); got != nil {
		t.Errorf("without an address: %v", got)
	}
	s.network.Status.Addresses = []netip.Prefix{netip.MustParsePrefix("10.5.0.7/24")}
	if d := cmp.Diff([]string{"10.5.0.1"}, s.timeServers()); d != "" {
		t.Errorf("by DHCP (-want +got):\n%s", d)
	}
	several := s
	several.network.Status.TimeServers = nil
	for i := range 20 {
		several.network.Status.TimeServers = append(several.network.Status.TimeServers, netip.AddrFrom4([4]byte{10, 5, 0, byte(i / 2)}))
	}
	want := []string{"10.5.0.0", "10.5.0.1", "10.5.0.2", "10.5.0.3", "10.5.0.4", "10.5.0.5", "10.5.0.6", "10.5.0.7"}
	if d := cmp.Diff(want, several.timeServers()); d != "" {
		t.Errorf("twenty by DHCP, each twice (-want +got):\n%s", d)
	}
	s.input.Config = &config.Config{Machine: config.Machine{Time: config.Time{Servers: []string{"time.example"}}}}
	if d := cmp.Diff([]string{"time.example"}, s.timeServers()); d != "" {
		t.Errorf("by the configuration (-want +got):\n%s", d)
	}
}
