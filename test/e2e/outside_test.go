package e2e

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/hack/qemu/network"
	"github.com/cyvive/cyvive/hack/qemu/wire"
)

// scanner is somebody on the node's network.
var scanner = wire.Host{MAC: net.HardwareAddr{0x52, 0x54, 0x00, 0x5c, 0xa9, 0x01}, Address: netip.MustParseAddr("10.0.2.77")}

// nodeMAC is the address of a cluster's first node.
func nodeMAC(t *testing.T) net.HardwareAddr {
	t.Helper()
	mac, err := net.ParseMAC(network.MAC(0))
	if err != nil {
		t.Fatal(err)
	}
	return mac
}

// portRow is a row of the table of ports in docs/isolation.md.
var portRow = regexp.MustCompile(`(?m)^\| ([0-9]+)/(tcp|udp) \|`)

// writtenPorts reads the list that users are told.
func writtenPorts(t *testing.T, protocol string) []uint16 {
	t.Helper()
	raw, err := os.ReadFile("../../docs/isolation.md")
	if err != nil {
		t.Fatal(err)
	}
	var list []uint16
	for _, row := range portRow.FindAllStringSubmatch(string(raw), -1) {
		port, err := strconv.ParseUint(row[1], 10, 16)
		if err != nil {
			t.Fatal(err)
		}
		if row[2] == protocol {
			list = append(list, uint16(port))
		}
	}
	slices.Sort(list)
	return list
}

// testPorts compares the ports that are open with the written list. TCP is
// scanned from outside. A closed port of UDP says so too seldom to be scanned (the
// kernel limits its answers), so for those the kernel's own list is read.
func testPorts(t *testing.T, s *survivors) {
	ctx := testContext(t, 5*time.Minute)
	open, err := s.wire.Scan(ctx, scanner, nodeMAC(t), network.UserGuest, wire.AllPorts())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(writtenPorts(t, "tcp"), open); diff != "" {
		t.Errorf("TCP ports (-written +open):\n%s", diff)
	}
	udp, err := s.udpPorts(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(writtenPorts(t, "udp"), udp); diff != "" {
		t.Errorf("UDP ports (-written +open):\n%s", diff)
	}
}

// udpPorts lists the node's UDP sockets that are bound to more than loopback
// (proc_pid_net(5): the local address in hexadecimal, as the processor has it in
// memory).
func (s *survivors) udpPorts(ctx context.Context) ([]uint16, error) {
	var list []uint16
	for _, file := range []string{"udp", "udp6"} {
		text, err := s.probe.Read(ctx, "/proc/1/net/"+file)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(text) {
			fields := strings.Fields(line)
			if len(fields) < 4 || fields[0] == "sl" {
				continue
			}
			address, hex, _ := strings.Cut(fields[1], ":")
			port, err := strconv.ParseUint(hex, 16, 16)
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", file, err)
			}
			if strings.HasSuffix(address, "7F") && len(address) == 8 || address == "00000000000000000000000001000000" {
				continue
			}
			list = append(list, uint16(port))
		}
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

// quiet is how long an idle node is watched; QUIET sets another time.
func quiet(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("QUIET")
	if text == "" {
		return 30 * time.Second
	}
	during, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("QUIET is %q, expected a duration such as 1h", text)
	}
	return during
}

// testQuiet wants an idle node to turn to nobody.
func testQuiet(t *testing.T, s *survivors, during time.Duration) {
	ctx := testContext(t, during+time.Minute)
	mac, seen, frames := nodeMAC(t), map[string]int{}, 0
	stop := s.wire.Listen(func(frame []byte) {
		frames++
		if what := wire.Opened(mac, frame); what != "" {
			seen[what]++
		}
	})
	end := time.After(during)
	// So that a wire without a node behind it is not taken for a quiet one.
	if _, err := s.Tools().Nodectl(ctx, "version"); err != nil {
		t.Error(err)
	}
	select {
	case <-end:
	case <-ctx.Done():
	}
	stop()
	if frames == 0 {
		t.Error("no frame was seen at all, and there was a call")
	}
	for what, count := range seen {
		t.Errorf("in %s of idleness: %s, %d times", during, what, count)
	}
	t.Logf("%d frames in %s", frames, during)
}
