package tpm

import (
	"bytes"
	"sync"
	"testing"

	"github.com/google/go-tpm/tpm2/transport"

	"github.com/cyvive/cyvive/internal/trust/tpmtest"
)

// machine is a software TPM.
type machine struct{ *tpmtest.Machine }

func newMachine(t *testing.T) machine { return machine{tpmtest.New(t)} }

// boot starts the machine again. It returns the TPM and what passes between it and the machine.
func (m machine) boot() (*TPM, *bus) {
	b := &bus{TPM: m.Boot()}
	return New(b), b
}

// bus notes what passes.
type bus struct {
	transport.TPM
	mu     sync.Mutex
	passed bytes.Buffer
}

func (b *bus) Send(in []byte) ([]byte, error) {
	out, err := b.TPM.Send(in)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.passed.Write(in)
	b.passed.Write(out)
	return out, err
}

// Close does nothing: each command has a connection of its own.
func (b *bus) Close() error { return nil }
