package machined

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"

	"github.com/cyvive/cyvive/internal/storage/pool"
)

// PoolHost is a domain of pools that has ZFS know which machine this is before it looks for any: of a pool that was used by another machine last, only that tells.
type PoolHost struct {
	PoolDomain
	// MachineID is the file of the node's machine ID, which is there once the state volume was looked at.
	MachineID string
	// Tell tells ZFS.
	Tell func(machineID string) error

	told atomic.Bool
}

// Observe implements reconcile.Domain.
func (h *PoolHost) Observe(ctx context.Context, spec pool.Spec) (pool.Observed, error) {
	if !h.told.Load() {
		if err := h.tell(); err != nil {
			return pool.Observed{}, err
		}
		h.told.Store(true)
	}
	return h.PoolDomain.Observe(ctx, spec)
}

func (h *PoolHost) tell() error {
	data, err := os.ReadFile(h.MachineID)
	id := strings.TrimSpace(string(data))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("wait for the node's machine ID, by which pools of other machines are told apart: %w", err)
	case err != nil:
		return fmt.Errorf("read the node's machine ID: %w", err)
	case !isMachineID(id):
		return fmt.Errorf("read the node's machine ID: %s holds %.40q, expected 32 hexadecimal digits", h.MachineID, id)
	}
	return h.Tell(id)
}
