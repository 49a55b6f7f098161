package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	kernelv1 "github.com/cyvive/cyvive/api/proto/kernel/v1"
	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	servicev1 "github.com/cyvive/cyvive/api/proto/service/v1"
)

var boardTime = time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)

func exampleBoard() *board {
	b := newBoard("192.0.2.1:50000")
	b.info = &machinev1.GetNodeResponse{Hostname: "node1", Role: machinev1.NodeRole_NODE_ROLE_CONTROL_PLANE, Version: "0.1.0", KernelRelease: "6.12"}
	b.health = &machinev1.GetHealthResponse{Checks: []*machinev1.HealthCheck{{Name: "etcd", Reason: "waiting for a leader"}, {Name: "network", Healthy: true}}}
	for i := range 10 {
		b.services = append(b.services, &servicev1.Service{Name: fmt.Sprintf("service-%d", i), State: servicev1.ServiceState_SERVICE_STATE_RUNNING, Pid: uint32(100 + i)})
	}
	b.was = &kernelv1.Stats{
		Time: timestamppb.New(boardTime), Cpu: &kernelv1.CPUStats{User: durationpb.New(10 * time.Second), Idle: durationpb.New(10 * time.Second)},
		Disks: []*kernelv1.DiskStats{{Name: "vda", ReadBytes: 0}}, Interfaces: []*kernelv1.InterfaceStats{{Name: "lo"}, {Name: "eth0", SentBytes: 100}},
	}
	b.now = &kernelv1.Stats{
		Time: timestamppb.New(boardTime.Add(2 * time.Second)), Uptime: durationpb.New(time.Minute),
		Cpu:    &kernelv1.CPUStats{Processors: 2, User: durationpb.New(11 * time.Second), Idle: durationpb.New(13 * time.Second), Load1: 0.5},
		Memory: &kernelv1.MemoryStats{TotalBytes: 4 << 30, AvailableBytes: 1 << 30},
		Disks:  []*kernelv1.DiskStats{{Name: "vda", ReadBytes: 4 << 20}}, Interfaces: []*kernelv1.InterfaceStats{{Name: "lo"}, {Name: "eth0", SentBytes: 2148}},
	}
	b.events, b.logs = []string{"an old event", "an event"}, []string{"a line\x1b[2J"}
	return b
}

func TestPicture(t *testing.T) {
	got := strings.Join(exampleBoard().picture(100, 22, boardTime), "\n")
	want := `node1   NOT READY   control-plane   Cyvive 0.1.0   kernel 6.12   up 1m0s   04:00:00 UTC
! etcd: waiting for a leader

CPU     [########......................]  25%   2 processors, load 0.50 0.00 0.00
MEMORY  [#######################.......]  75%   3.0 GiB of 4.0 GiB
DISK    vda read 2.0 MiB/s, write 0 B/s
NETWORK eth0 in 0 B/s, out 1.0 KiB/s

  SERVICE                    STATE          PID RESTARTS  REASON
> service-0                  running        100        0  
  service-1                  running        101        0  
  service-2                  running        102        0  
  service-3                  running        103        0  
  service-4                  running        104        0  
  service-5                  running        105        0  

EVENTS
an event

LOG of service-0
a line` + "\uFFFD" + `[2J
arrows: pick a service   q: quit`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("picture (-want +got):\n%s", diff)
	}
}

// TestPictureFits: whatever the size of the terminal and whatever is known.
func TestPictureFits(t *testing.T) {
	empty, ill := newBoard("node"), exampleBoard()
	for i := range 30 {
		ill.problems[fmt.Sprint(i)] = errors.New(strings.Repeat("é", 300))
	}
	for name, b := range map[string]*board{"empty": empty, "example": exampleBoard(), "ill": ill} {
		for width := range 130 {
			for height := 1; height < 60; height++ {
				lines := b.picture(width, height, boardTime)
				if len(lines) > height {
					t.Fatalf("%s: %d lines on a terminal of %d", name, len(lines), height)
				}
				for _, line := range lines {
					if utf8.RuneCountInString(line) > width {
						t.Fatalf("%s: a line of %d on a terminal of %d", name, utf8.RuneCountInString(line), width)
					}
				}
			}
		}
	}
}

func TestKeys(t *testing.T) {
	if diff := cmp.Diff([]key{keyUp, keyDown, keyUp, keyDown, keyQuit, keyQuit}, keys([]byte("\x1b[A\x1bOBkxj\x1b[Zq\x03"))); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	b, relogs := exampleBoard(), 0
	b.relog = func() { relogs++ }
	for _, k := range []key{keyUp, keyDown, keyDown, keyUp} {
		if !b.press(k) {
			t.Errorf("key %d ends the dashboard", k)
		}
	}
	if b.press(keyQuit) || b.selected != 1 || relogs != 3 {
		t.Errorf("selected %d, log changed %d times; want 1, 3", b.selected, relogs)
	}
	for range 20 {
		b.press(keyDown)
	}
	if b.selected != 9 || !strings.Contains(strings.Join(b.serviceLines(5), "\n"), "> service-9") {
		t.Errorf("selected %d of 10, shown:\n%s", b.selected, strings.Join(b.serviceLines(5), "\n"))
	}
}

func TestChanges(t *testing.T) {
	c := changes{keys: 1}
	for _, step := range []struct{ rows, want [][]string }{
		{[][]string{{"a", "1", ""}, {"b", "1", ""}}, [][]string{{"a", "1", ""}, {"b", "1", ""}}},
		{[][]string{{"a", "1", ""}, {"b", "2", ""}}, [][]string{{"b", "2", ""}}},
		{[][]string{{"b", "2", ""}, {"b", "3", ""}}, [][]string{{"b", "3", ""}, {"a", "", "gone"}}},
		{[][]string{{"b", "2", ""}, {"b", "3", ""}}, nil},
	} {
		if diff := cmp.Diff(step.want, c.next(step.rows)); diff != "" {
			t.Errorf("after %v (-want +got):\n%s", step.rows, diff)
		}
	}
}

func TestBytesText(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 10 << 20: "10 MiB", 1<<64 - 1: "16 EiB"} {
		if got := bytesText(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}
