package csitest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cyvive/cyvive/internal/csi"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Mounts implements csi.Mounts. It refuses what the kernel would, and may be used concurrently.
type Mounts struct {
	// System is asked for sizes and origins of volumes.
	System zfs.System
	// Hook, if set, is called before and after each change. What it returns is what the method does; before, nothing has happened then.
	Hook func(method string, done bool) error

	mu     sync.Mutex
	kinds  map[string]Kind // of paths
	mounts []csi.Mount
	disks  map[zfs.GUID]*disk
	// held are volumes whose devices the kernel holds, by the targets that they are held for.
	held map[string]string
}

// Kind is what a path is.
type Kind string

// The kinds.
const (
	Directory Kind = "directory"
	File      Kind = "file"
)

// disk is what is on a zvol.
type disk struct {
	holds string
	// bytes is how large its file system is.
	bytes int64
	// dirty says that it was mounted and never repaired since.
	dirty bool
}

// NewMounts returns a kernel without mounts.
func NewMounts(system zfs.System) *Mounts {
	return &Mounts{System: system, kinds: map[string]Kind{}, disks: map[zfs.GUID]*disk{}, held: map[string]string{}}
}

// MakeDirectory makes a directory and those above it, as kubelet does.
func (m *Mounts) MakeDirectory(target string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for ; target != "."; target = path.Dir(target) {
		m.kinds[target] = Directory
	}
}

// RemoveDirectory removes what is at a path. A mount is an error.
func (m *Mounts) RemoveDirectory(target string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.on(target) != nil {
		return fmt.Errorf("remove %s: it is a mount", target)
	}
	delete(m.kinds, target)
	return nil
}

// PowerCut takes all mounts away, and what was held. Files and directories stay, and what was mounted was not unmounted in order.
func (m *Mounts) PowerCut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mounts, m.held = nil, map[string]string{}
}

// Held are the volumes whose devices are held and open to pods, by the targets that they are held for.
func (m *Mounts) Held() map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.held)
}

// Hold has a device be held for a target on which nothing is bound, as an agent leaves it that is killed between the two.
func (m *Mounts) Hold(target, volume string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held[target] = volume
}

// KindOf is what is at a path, empty for nothing.
func (m *Mounts) KindOf(target string) Kind {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.kinds[target]
}

// Put writes something on the device of a volume, as a pod would that has it.
func (m *Mounts) Put(volume, what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, disk, err := m.disk(context.Background(), volume); err == nil {
		disk.holds = what
	}
}

// FileSystemBytes is how large the file system on a volume's device is.
func (m *Mounts) FileSystemBytes(volume string) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, disk, err := m.disk(context.Background(), volume)
	if err != nil {
		return 0
	}
	return disk.bytes
}

// disk finds a volume's device. A clone has at first what its origin has.
func (m *Mounts) disk(ctx context.Context, volume string) (sizeBytes int64, _ *disk, err error) {
	found, err := m.System.List(ctx, zfs.Query{Roots: []string{volume}, Kinds: []zfs.Kind{zfs.Volume}, Properties: []string{"volsize", "origin"}})
	if err != nil {
		return 0, nil, fmt.Errorf("find device of %s: %w", volume, err)
	}
	if len(found) != 1 {
		return 0, nil, fmt.Errorf("find device of %s: %w: no volume of ZFS", volume, zfs.ErrInvalid)
	}
	sizeBytes, _ = strconv.ParseInt(found[0].Properties["volsize"].Value, 10, 64)
	if m.disks[found[0].GUID] == nil {
		m.disks[found[0].GUID] = &disk{}
		if origin, _, ok := strings.Cut(found[0].Properties["origin"].Value, "@"); ok {
			if _, of, err := m.disk(ctx, origin); err == nil {
				*m.disks[found[0].GUID] = *of
			}
		}
	}
	return sizeBytes, m.disks[found[0].GUID], nil
}

// on returns the topmost mount of a target.
func (m *Mounts) on(target string) *csi.Mount {
	for i := range slices.Backward(m.mounts) {
		if m.mounts[i].Target == target {
			return &m.mounts[i]
		}
	}
	return nil
}

// change makes a change between two calls of the hook.
func (m *Mounts) change(ctx context.Context, method string, do func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.Hook != nil {
		if err := m.Hook(method, false); err != nil {
			return err
		}
	}
	m.mu.Lock()
	err := do()
	m.mu.Unlock()
	if err == nil && m.Hook != nil {
		err = m.Hook(method, true)
	}
	return err
}

var errBusy = errors.New("device or resource busy")
