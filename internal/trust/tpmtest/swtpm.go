// Package tpmtest runs software TPMs for tests: swtpm, each in a folder of its own, reached over a Unix socket.
package tpmtest

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"
)

// Machine is a software TPM that can be restarted, as a machine is. It ends with its test.
type Machine struct {
	t       *testing.T
	program string
	state   string
	process *exec.Cmd
}

// New starts a TPM with a seed of its own.
func New(t *testing.T) *Machine {
	t.Helper()
	program, err := exec.LookPath("swtpm")
	if err != nil {
		if os.Getenv("REQUIRE_ROOT") == "1" {
			t.Fatalf("REQUIRE_ROOT=1 promised swtpm: %v", err)
		}
		t.Skipf("needs a software TPM (make setup): %v", err)
	}
	// Not t.TempDir: the path of a socket has 107 bytes at most (unix(7)).
	state, err := os.MkdirTemp("", "tpm")
	if err != nil {
		t.Fatal(err)
	}
	m := &Machine{t: t, program: program, state: state}
	t.Cleanup(func() {
		m.stop()
		os.RemoveAll(state)
	})
	m.start()
	return m
}

func (m *Machine) socket() string { return filepath.Join(m.state, "tpm.sock") }

func (m *Machine) start() {
	m.t.Helper()
	args := []string{
		"socket", "--tpm2", "--tpmstate", "dir=" + m.state, "--server", "type=unixio,path=" + m.socket(),
		"--ctrl", "type=unixio,path=" + filepath.Join(m.state, "ctrl.sock"), "--flags", "not-need-init,startup-clear",
	}
	var words bytes.Buffer
	m.process = exec.Command(m.program, args...)
	m.process.Stdout, m.process.Stderr = &words, &words
	if err := m.process.Start(); err != nil {
		m.t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("unix", m.socket()); err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			m.stop()
			m.t.Fatalf("swtpm does not answer at %s after 20 s: %s", m.socket(), words.String())
		}
	}
}

func (m *Machine) stop() {
	if m.process != nil {
		_ = m.process.Process.Kill()
		_ = m.process.Wait()
		m.process = nil
	}
	for _, name := range []string{"tpm.sock", "ctrl.sock"} {
		if err := os.Remove(filepath.Join(m.state, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			m.t.Error(err)
		}
	}
}

// Boot starts the machine again: its registers are zero. It returns a transport to the TPM; each command has a connection of its own.
func (m *Machine) Boot() transport.TPM {
	m.t.Helper()
	m.stop()
	m.start()
	return m.Transport()
}

// Transport returns another one, to a machine that goes on.
func (m *Machine) Transport() transport.TPM {
	m.t.Helper()
	c, err := linuxudstpm.Open(m.socket())
	if err != nil {
		m.t.Fatal(err)
	}
	return c
}

// Extend measures data into a register, as firmware and boot loaders do.
func Extend(t *testing.T, to transport.TPM, register int, data string) {
	t.Helper()
	_, err := tpm2.PCREvent{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(register), Auth: tpm2.PasswordAuth(nil)},
		EventData: tpm2.TPM2BEvent{Buffer: []byte(data)},
	}.Execute(to)
	if err != nil {
		t.Fatal(err)
	}
}
