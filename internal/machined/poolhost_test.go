package machined

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/pool/pooltest"
)

// TestPoolHost: no pool is looked for before ZFS knows which machine this is, and it is told once.
func TestPoolHost(t *testing.T) {
	m := pooltest.New(1)
	var told []string
	refuse := errors.New("no such parameter")
	h := &PoolHost{
		PoolDomain: pool.New(m, m, m, time.Now), MachineID: filepath.Join(t.TempDir(), "machine-id"),
		Tell: func(id string) error { told = append(told, id); return refuse },
	}
	look := func() error {
		_, err := h.Observe(t.Context(), pool.Spec{})
		return err
	}
	if err := look(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before there is an ID: %v", err)
	}
	for _, text := range []string{"", "uninitialized\n", "00000000000000000000000000000000\n"} {
		if err := os.WriteFile(h.MachineID, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := look(); err == nil || len(told) > 0 {
			t.Errorf("with the ID %q: %v, told %q", text, err, told)
		}
	}
	const id = "0123456789abcdef0123456789abcdef"
	if err := os.WriteFile(h.MachineID, []byte(id+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := look(); !errors.Is(err, refuse) {
		t.Errorf("where ZFS is not told: %v", err)
	}
	refuse = nil
	for range 2 {
		if err := look(); err != nil {
			t.Error(err)
		}
	}
	if len(told) != 2 || told[0] != id || told[1] != id {
		t.Errorf("told %q", told)
	}
}
