package network

import (
	"errors"
	"net"
	"strings"
	"testing"
)

func TestUserArguments(t *testing.T) {
	lan := User{Forwards: []Forward{{HostPort: 50001, GuestPort: 50000}, {HostPort: 6443, GuestPort: 6443}}}
	line := strings.Join(lan.Arguments(3), " ")
	for _, want := range []string{
		"restrict=on", "hostfwd=tcp:127.0.0.1:50001-:50000", "hostfwd=tcp:127.0.0.1:6443-:6443", "mac=52:54:00:c7:00:03",
	} {
		if !strings.Contains(line, want) {
			t.Errorf("%s\nlacks %s", line, want)
		}
	}
	// A forward without an address would listen on every interface.
	if strings.Contains(line, "hostfwd=tcp::") {
		t.Errorf("%s\nlistens on every interface", line)
	}
	if lan.Arguments(1)[3] == lan.Arguments(2)[3] {
		t.Error("two machines have the same address")
	}
}

func TestUserReach(t *testing.T) {
	if line := strings.Join((User{}).Arguments(1), " "); strings.Contains(line, "guestfwd") {
		t.Errorf("%s\nlets the guest out", line)
	}
	line := strings.Join(User{Reach: []Reach{{Port: 80, Command: "/bin/dial 127.0.0.1:8080"}}}.Arguments(1), " ")
	if want := ",guestfwd=tcp:10.0.2.100:80-cmd:/bin/dial 127.0.0.1:8080"; !strings.Contains(line, want) || !strings.Contains(line, "restrict=on") {
		t.Errorf("%s\nlacks %s", line, want)
	}
}

func TestUserBoot(t *testing.T) {
	if line := strings.Join((User{}).Arguments(1), " "); strings.Contains(line, "boot") || strings.Contains(line, "tftp") {
		t.Errorf("%s\nis a network to start from", line)
	}
	for _, c := range []struct {
		boot Boot
		has  string
	}{
		{Boot{File: "m.efi", Folder: "/d,x"}, "restrict=on,ipv6=off,tftp=/d,,x,bootfile=m.efi -device virtio-net-pci,netdev=net0,romfile=,mac=52:54:00:c7:00:01,bootindex=100"},
		{Boot{File: "http://10.0.2.100:80/m.efi"}, "restrict=on,ipv6=off,bootfile=http://10.0.2.100:80/m.efi -device"},
	} {
		if line := strings.Join(User{Boot: c.boot}.Arguments(1), " "); !strings.Contains(line, c.has) {
			t.Errorf("%s\nlacks %s", line, c.has)
		}
	}
}

func TestFreePorts(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	taken := uint16(listener.Addr().(*net.TCPAddr).Port)
	ports, err := FreePorts(taken, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[uint16]bool{taken: true, 0: true}
	for _, port := range ports {
		if seen[port] {
			t.Errorf("ports %v with %d taken: %d is not new", ports, taken, port)
		}
		seen[port] = true
	}
	if err := CheckPort(taken); !errors.Is(err, ErrPortTaken) {
		t.Errorf("check of a taken port: got %v, want %v", err, ErrPortTaken)
	}
	free, err := FreePorts(ports[0])
	if err != nil || free[0] != ports[0] {
		t.Errorf("a free port: got %v, %v; want %d itself", free, err, ports[0])
	}
	if err := CheckPort(ports[0]); err != nil {
		t.Error(err)
	}
}
