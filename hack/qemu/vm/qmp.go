package vm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Monitor is a connection to QEMU's machine protocol (docs/interop/qmp-spec in
// QEMU's sources). QEMU serves one connection at a time, so it is to be closed
// soon. It must not be used by two goroutines at once.
type Monitor struct {
	conn  net.Conn
	lines *bufio.Reader
}

// qmpMessage is any line that QEMU sends: the greeting, an answer or an event.
type qmpMessage struct {
	Greeting *json.RawMessage `json:"QMP"`
	Return   *json.RawMessage `json:"return"`
	Error    *struct {
		Class       string `json:"class"`
		Description string `json:"desc"`
	} `json:"error"`
	Event string `json:"event"`
}

// Monitor connects and ends the capabilities negotiation.
func (v *VM) Monitor(ctx context.Context) (*Monitor, error) {
	conn, err := v.dial(ctx, qmpSocket)
	if err != nil {
		return nil, fmt.Errorf("open monitor: %w", err)
	}
	m := &Monitor{conn: conn, lines: bufio.NewReader(conn)}
	if err := m.handshake(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("open monitor: %w", err)
	}
	return m, nil
}

// Port connects to a port of the machine that goes both ways. QEMU serves one
// connection at a time. What the guest sends while there is none is lost.
func (v *VM) Port(ctx context.Context, name string) (net.Conn, error) {
	conn, err := v.dial(ctx, Port{Name: name}.socket())
	if err != nil {
		return nil, fmt.Errorf("open port %s: %w", name, err)
	}
	return conn, nil
}

// dial connects to a socket in the machine's folder.
func (v *VM) dial(ctx context.Context, socket string) (net.Conn, error) {
	dir, err := os.Open(v.dir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	// The way through the descriptor keeps the address short (unix(7)).
	path := filepath.Join("/proc/self/fd", fmt.Sprint(dir.Fd()), socket)
	return new(net.Dialer).DialContext(ctx, "unix", path)
}

func (m *Monitor) handshake(ctx context.Context) error {
	m.deadline(ctx)
	message, err := m.read()
	if err != nil {
		return err
	}
	if message.Greeting == nil {
		return errors.New("QEMU did not greet")
	}
	return m.Execute(ctx, "qmp_capabilities", nil, nil)
}

// Execute runs one command and stores its answer in result, unless that is nil.
// Events that come in between are dropped.
func (m *Monitor) Execute(ctx context.Context, command string, arguments, result any) error {
	m.deadline(ctx)
	request, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
	}{command, arguments})
	if err != nil {
		return fmt.Errorf("run monitor command %s: %w", command, err)
	}
	if _, err := m.conn.Write(append(request, '\n')); err != nil {
		return fmt.Errorf("run monitor command %s: %w", command, err)
	}
	for {
		message, err := m.read()
		switch {
		case err != nil:
			return fmt.Errorf("run monitor command %s: %w", command, err)
		case message.Error != nil:
			return fmt.Errorf("run monitor command %s: %s: %s", command, message.Error.Class, message.Error.Description)
		case message.Return == nil:
			continue
		case result == nil:
			return nil
		}
		if err := json.Unmarshal(*message.Return, result); err != nil {
			return fmt.Errorf("run monitor command %s: read answer: %w", command, err)
		}
		return nil
	}
}

// Close ends the connection; the machine runs on.
func (m *Monitor) Close() error { return m.conn.Close() }

func (m *Monitor) read() (qmpMessage, error) {
	line, err := m.lines.ReadBytes('\n')
	if err != nil {
		return qmpMessage{}, err
	}
	return parseQMP(line)
}

func parseQMP(line []byte) (qmpMessage, error) {
	var message qmpMessage
	if err := json.Unmarshal(line, &message); err != nil {
		return qmpMessage{}, fmt.Errorf("read monitor message: %w", err)
	}
	return message, nil
}

// deadline bounds the exchange that follows: the context's own deadline, or ten
// seconds.
func (m *Monitor) deadline(ctx context.Context) {
	at, ok := ctx.Deadline()
	if limit := time.Now().Add(10 * time.Second); !ok || at.After(limit) {
		at = limit
	}
	_ = m.conn.SetDeadline(at)
}

// command runs one command without arguments or answer.
func (v *VM) command(ctx context.Context, name string) error { return v.execute(ctx, name, nil) }

// PressPower presses the ACPI power key.
func (v *VM) PressPower(ctx context.Context) error { return v.command(ctx, "system_powerdown") }

// Reset presses the reset key: no warning reaches the guest.
func (v *VM) Reset(ctx context.Context) error { return v.command(ctx, "system_reset") }

// Pause stops the machine's processors and clock, after which its images on the
// host hold all that the guest has written: QEMU flushes them (do_vm_stop in
// softmmu/cpus.c of QEMU 7.2). They may be read then, not written.
func (v *VM) Pause(ctx context.Context) error { return v.command(ctx, "stop") }

// Resume goes on after Pause.
func (v *VM) Resume(ctx context.Context) error { return v.command(ctx, "cont") }
