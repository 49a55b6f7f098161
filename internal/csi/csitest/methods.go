package csitest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"

	"github.com/cyvive/cyvive/internal/csi"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Mounted implements csi.Mounts.
func (m *Mounts) Mounted(ctx context.Context) ([]csi.Mount, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.mounts), ctx.Err()
}

// Mount implements csi.Mounts.
func (m *Mounts) Mount(ctx context.Context, mount csi.Mount) error {
	return m.change(ctx, "Mount", func() error {
		if m.kinds[mount.Target] != Directory {
			return fmt.Errorf("mount on %s: %w", mount.Target, fs.ErrNotExist)
		}
		if mount.FileSystem != "zfs" {
			_, disk, err := m.disk(ctx, mount.Volume)
			switch {
			case err != nil:
				return err
			case disk.holds != mount.FileSystem:
				return fmt.Errorf("mount %s: wrong fs type: it has %q", mount.Volume, disk.holds)
			case disk.dirty:
				return fmt.Errorf("mount %s: it should have been repaired", mount.Volume)
			}
			disk.dirty = true
		} else if _, err := m.System.List(ctx, zfs.Query{Roots: []string{mount.Volume}, Kinds: []zfs.Kind{zfs.Filesystem}}); err != nil {
			return err
		}
		m.mounts = append(m.mounts, mount)
		return nil
	})
}

// Bind implements csi.Mounts.
func (m *Mounts) Bind(ctx context.Context, from, target string, readOnly bool) error {
	return m.change(ctx, "Bind", func() error {
		of := m.on(from)
		if of == nil {
			return fmt.Errorf("bind %s: nothing is mounted there", from)
		}
		return m.bind(csi.Mount{Volume: of.Volume, Target: target, FileSystem: of.FileSystem, ReadOnly: readOnly}, Directory)
	})
}

func (m *Mounts) bind(mount csi.Mount, kind Kind) error {
	if m.kinds[path.Dir(mount.Target)] != Directory {
		return fmt.Errorf("bind on %s: parent: %w", mount.Target, fs.ErrNotExist)
	}
	if has := m.kinds[mount.Target]; has != "" && has != kind {
		return fmt.Errorf("bind on %s: it is a %s", mount.Target, has)
	}
	m.kinds[mount.Target] = kind
	m.mounts = append(m.mounts, mount)
	return nil
}

// BindDevice implements csi.Mounts.
func (m *Mounts) BindDevice(ctx context.Context, volume, target string) error {
	return m.change(ctx, "BindDevice", func() error {
		if _, _, err := m.disk(ctx, volume); err != nil {
			return err
		}
		if has := m.held[target]; has != "" && has != volume {
			return fmt.Errorf("bind the device of %s on %s: %w: that of %s is held for it", volume, target, zfs.ErrBusy, has)
		}
		if err := m.bind(csi.Mount{Volume: volume, Target: target}, File); err != nil {
			return err
		}
		m.held[target] = volume
		return nil
	})
}

// ReleaseDevice implements csi.Mounts. As with kubelet's loop devices, what is held goes by the name of the target's lock.
func (m *Mounts) ReleaseDevice(ctx context.Context, target string) error {
	return m.change(ctx, "ReleaseDevice", func() error {
		if m.held[target] != "" && m.on(target) != nil {
			return fmt.Errorf("release the device on %s: it is bound", target)
		}
		lock := csi.DeviceLock(target)
		maps.DeleteFunc(m.held, func(held, _ string) bool { return csi.DeviceLock(held) == lock })
		return nil
	})
}

// RestoreDevices implements csi.Mounts.
func (m *Mounts) RestoreDevices(ctx context.Context) error {
	return m.change(ctx, "RestoreDevices", func() error {
		maps.DeleteFunc(m.held, func(target, _ string) bool { return m.on(target) == nil })
		return nil
	})
}

// Unmount implements csi.Mounts.
func (m *Mounts) Unmount(ctx context.Context, target string) error {
	return m.change(ctx, "Unmount", func() error {
		m.mounts = slices.DeleteFunc(m.mounts, func(one csi.Mount) bool { return one.Target == target })
		return nil
	})
}

// Remove implements csi.Mounts.
func (m *Mounts) Remove(ctx context.Context, target string) error {
	return m.change(ctx, "Remove", func() error {
		if m.on(target) != nil {
			return fmt.Errorf("remove %s: %w", target, errBusy)
		}
		delete(m.kinds, target)
		return nil
	})
}

// Usage implements csi.Mounts.
func (m *Mounts) Usage(ctx context.Context, target string) (csi.Usage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.on(target) == nil {
		return csi.Usage{}, fmt.Errorf("read usage of %s: %w", target, fs.ErrNotExist)
	}
	return csi.Usage{TotalBytes: 100, UsedBytes: 40, AvailableBytes: 60, TotalInodes: 10, UsedInodes: 1, AvailableInodes: 9}, ctx.Err()
}

// Holds implements csi.Mounts.
func (m *Mounts) Holds(ctx context.Context, volume string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, disk, err := m.disk(ctx, volume)
	if err != nil {
		return "", err
	}
	return disk.holds, nil
}

// Format implements csi.Mounts. A call that the hook lets fail afterwards has written half of it.
func (m *Mounts) Format(ctx context.Context, volume, fileSystem string) error {
	err := m.change(ctx, "Format", func() error {
		size, disk, err := m.disk(ctx, volume)
		if err != nil {
			return err
		}
		disk.holds, disk.bytes, disk.dirty = fileSystem, size, false
		return nil
	})
	if err != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		if _, disk, find := m.disk(context.Background(), volume); find == nil && disk.holds == fileSystem {
			disk.holds = "half of " + fileSystem
		}
	}
	return err
}

// Repair implements csi.Mounts.
func (m *Mounts) Repair(ctx context.Context, volume, fileSystem string) error {
	return m.change(ctx, "Repair", func() error {
		_, disk, err := m.disk(ctx, volume)
		if err == nil && disk.holds != fileSystem {
			err = errors.New("repair " + volume + ": it has " + disk.holds)
		}
		if err == nil {
			disk.dirty = false
		}
		return err
	})
}

// Grow implements csi.Mounts.
func (m *Mounts) Grow(ctx context.Context, _, target string) error {
	return m.change(ctx, "Grow", func() error {
		on := m.on(target)
		switch {
		case on == nil:
			return fmt.Errorf("grow %s: %w", target, fs.ErrNotExist)
		case on.ReadOnly:
			return fmt.Errorf("grow %s: read-only file system", target)
		}
		size, disk, err := m.disk(ctx, on.Volume)
		if err == nil {
			disk.bytes = max(disk.bytes, size)
		}
		return err
	})
}

// SizeBytes implements csi.Mounts.
func (m *Mounts) SizeBytes(ctx context.Context, volume string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	size, _, err := m.disk(ctx, volume)
	return size, err
}
