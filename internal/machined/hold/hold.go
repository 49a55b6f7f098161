// Package hold keeps containers that an operator stopped from being started
// again by the loops, until they are started on request or the node boots. It
// outlives the agent by a file in /run.
package hold

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"

	"github.com/cyvive/cyvive/internal/container"
)

// Hold is the set of names of stopped containers. Its methods are safe for
// concurrent use.
type Hold struct {
	path string

	// ensuring is held for reading while a container is ensured, and for writing
	// while the set changes.
	ensuring sync.RWMutex
	mu       sync.Mutex
	names    []string // sorted
}

// Open reads the set of a file, which need not exist.
func Open(path string) (*Hold, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &Hold{path: path}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read stopped services: %w", err)
	}
	h := &Hold{path: path}
	if err := json.Unmarshal(data, &h.names); err != nil {
		return nil, fmt.Errorf("read stopped services: %s: %w", path, err)
	}
	return h, nil
}

// Names returns the set, sorted. The caller owns it.
func (h *Hold) Names() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.names)
}

// Add has a container not started from now on. It waits for one that is being
// started.
func (h *Hold) Add(name string) error {
	h.ensuring.Lock()
	defer h.ensuring.Unlock()
	names := h.Names()
	i, found := slices.BinarySearch(names, name)
	if found {
		return nil
	}
	return h.save(slices.Insert(names, i, name))
}

// Remove lets a container be started again.
func (h *Hold) Remove(name string) error {
	h.ensuring.Lock()
	defer h.ensuring.Unlock()
	names := h.Names()
	i, found := slices.BinarySearch(names, name)
	if !found {
		return nil
	}
	return h.save(slices.Delete(names, i, i+1))
}

// save replaces the file, and then the set.
func (h *Hold) save(names []string) error {
	data, err := json.Marshal(names)
	if err == nil {
		err = os.WriteFile(h.path+".new", data, 0o600)
	}
	if err == nil {
		err = os.Rename(h.path+".new", h.path)
	}
	if err != nil {
		return fmt.Errorf("remember stopped services: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.names = names
	return nil
}

// Runtime returns r without the starts of what is held. The loops know what is
// held and do not ask; this is for a start that was decided just before.
func (h *Hold) Runtime(r container.Runtime) container.Runtime { return runtime{r, h} }

type runtime struct {
	container.Runtime
	hold *Hold
}

// Ensure implements container.Runtime.
func (r runtime) Ensure(ctx context.Context, spec container.Spec) error {
	r.hold.ensuring.RLock()
	defer r.hold.ensuring.RUnlock()
	if _, held := slices.BinarySearch(r.hold.Names(), spec.Name); held {
		return nil
	}
	return r.Runtime.Ensure(ctx, spec)
}
