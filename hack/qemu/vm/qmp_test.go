package vm

import (
	"bufio"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// fakeMonitor answers as QEMU does: a greeting, then the given line for each
// request, an event in front of it.
func fakeMonitor(t *testing.T, answers ...string) *VM {
	t.Helper()
	dir := t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(dir, qmpSocket))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprintln(conn, `{"QMP": {"version": {}, "capabilities": []}}`)
		requests := bufio.NewScanner(conn)
		for _, answer := range append([]string{`{"return": {}}`}, answers...) {
			if !requests.Scan() {
				return
			}
			fmt.Fprintf(conn, "{\"event\": \"RESUME\"}\n%s\n", answer)
		}
	}()
	return &VM{dir: dir, name: "fake"}
}

func TestMonitorExecute(t *testing.T) {
	machine := fakeMonitor(t,
		`{"return": {"status": "running"}}`,
		`{"error": {"class": "CommandNotFound", "desc": "no such command"}}`,
		`nonsense`)
	monitor, err := machine.Monitor(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer monitor.Close()
	var status struct{ Status string }
	if err := monitor.Execute(t.Context(), "query-status", nil, &status); err != nil || status.Status != "running" {
		t.Errorf("got %q, %v; want running", status.Status, err)
	}
	for _, want := range []string{"no such command", "read monitor message", ""} {
		err := monitor.Execute(t.Context(), "strange", map[string]int{"a": 1}, nil)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "strange") {
			t.Errorf("got %v, want an error with the command and %q", err, want)
		}
	}
}

func TestPause(t *testing.T) {
	for name, run := range map[string]func(*VM) error{
		"stop": func(v *VM) error { return v.Pause(t.Context()) },
		"cont": func(v *VM) error { return v.Resume(t.Context()) },
	} {
		err := run(fakeMonitor(t, `{"error": {"class": "GenericError", "desc": "not now"}}`))
		if err == nil || !strings.Contains(err.Error(), "command "+name+":") {
			t.Errorf("%s: got %v, want the monitor's refusal of that command", name, err)
		}
		if err := run(fakeMonitor(t, `{"return": {}}`)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMonitorAbsent(t *testing.T) {
	machine := &VM{dir: t.TempDir(), name: "fake"}
	if err := machine.PressPower(t.Context()); err == nil {
		t.Error("want an error")
	}
}
