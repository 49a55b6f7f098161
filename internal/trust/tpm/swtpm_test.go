package tpm

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"
)

// machine is a software TPM that can be restarted, as a machine is.
type machine struct {
	t       *testing.T
	program string
	state   string
	args    []string
	process *exec.Cmd
}

// newMachine starts a TPM with a seed of its own.
func newMachine(t *testing.T, args ...string) *machine {
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
	m := &machine{t: t, program: program, state: state, args: args}
	t.Cleanup(func() {
		m.stop()
		os.RemoveAll(state)
	})
	m.start()
	return m
}

func (m *machine) socket() string { return filepath.Join(m.state, "tpm.sock") }

func (m *machine) start() {
	m.t.Helper()
	args := append([]string{
		"socket", "--tpm2", "--tpmstate", "dir=" + m.state, "--server", "type=unixio,path=" + m.socket(),
		"--ctrl", "type=unixio,path=" + filepath.Join(m.state, "ctrl.sock"), "--flags", "not-need-init,startup-clear",
	}, m.args...)
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

func (m *machine) stop() {
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

// boot starts the machine again: its registers are zero. It returns the TPM and what passes between it and the machine.
func (m *machine) boot() (*TPM, *bus) {
	m.t.Helper()
	m.stop()
	m.start()
	return m.open()
}

func (m *machine) open() (*TPM, *bus) {
	m.t.Helper()
	c, err := linuxudstpm.Open(m.socket())
	if err != nil {
		m.t.Fatal(err)
	}
	b := &bus{TPMCloser: c}
	return New(b), b
}

// bus notes what passes.
type bus struct {
	transport.TPMCloser
	mu     sync.Mutex
	passed bytes.Buffer
}

func (b *bus) Send(in []byte) ([]byte, error) {
	out, err := b.TPMCloser.Send(in)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.passed.Write(in)
	b.passed.Write(out)
	return out, err
}

// Close does nothing: each command has a connection of its own.
func (b *bus) Close() error { return nil }

var _ io.Closer = (*bus)(nil)
