package storagetest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"strings"
	"sync"

	"github.com/cyvive/cyvive/internal/storage"
)

// ErrPower is the error of the operation during which the power fails.
var ErrPower = errors.New("power failed")

// Machine is a disk and the mounts of the system that runs on it. It implements storage.Disk, storage.Mounts and storage.Crypt, and may be used
// concurrently.
type Machine struct {
	mu         sync.Mutex
	partitions []storage.Partition
	contents   map[string]storage.Contents
	// mounts holds device numbers by target, directories permissions by path, records cleanliness by volume. All are lost with the power,
	// but directories of mounted volumes.
	mounts      map[string]storage.MountState
	directories map[string]fs.FileMode
	records     map[string]bool
	powerIn     int
	// crypt is what encrypted volumes need, and pools are those of ZFS; see crypt.go and pools.go.
	crypt crypt
	pools pools
}

// New returns a machine with blank partitions state (64 MiB) and data (64 MiB, which can grow by growBytes).
func New(growBytes uint64) *Machine {
	return &Machine{
		partitions: []storage.Partition{
			{Number: 6, Name: storage.State, Device: "/dev/vda6", Numbers: "254:6", SizeBytes: 64 << 20},
			{Number: 7, Name: storage.Data, Device: "/dev/vda7", Numbers: "254:7", SizeBytes: 64 << 20, GrowableBytes: growBytes},
		},
		contents: map[string]storage.Contents{"/dev/vda6": {Blank: true}, "/dev/vda7": {Blank: true}},
		mounts:   map[string]storage.MountState{}, directories: map[string]fs.FileMode{}, records: map[string]bool{},
		powerIn: -1, crypt: newCrypt(), pools: newPools(),
	}
}

// SetContents replaces what is on a device.
func (m *Machine) SetContents(device string, c storage.Contents) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.contents[device] = c
	m.forgetKeys(device)
}

// forgetKeys takes away what lay on the state volume, if that is what the device is of.
func (m *Machine) forgetKeys(device string) {
	if device == mapped(storage.State) || device == m.partitions[0].Device {
		clear(m.crypt.keys)
	}
}

// FailPower lets n more changing operations succeed; the one after that is left half-way and returns ErrPower, as do all further ones.
func (m *Machine) FailPower(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.powerIn = n
}

// Boot starts the machine again: mounts and records are gone, and file systems that were mounted were not unmounted if the end was not
// clean.
func (m *Machine) Boot(clean bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, on := range m.mounts {
		for _, p := range m.holders() {
			if p.Numbers == on.Numbers {
				c := m.contents[p.Device]
				c.Clean = clean
				m.contents[p.Device] = c
			}
		}
	}
	m.mounts, m.records, m.powerIn = map[string]storage.MountState{}, map[string]bool{}, -1
	m.exportPool(clean)
	m.crypt.reset()
}

// String prints the state, for comparisons in tests.
func (m *Machine) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var b strings.Builder
	for _, p := range m.partitions {
		c := m.contents[p.Device]
		fmt.Fprintf(&b, "%s %d MiB signature=%q formatting=%t\n", p.Name, p.SizeBytes>>20, c.Signature, c.Formatting)
	}
	m.crypt.print(&b, m.contents)
	m.pools.print(&b)
	fmt.Fprintf(&b, "mounts %v\ndirectories %v\n", m.mounts, m.directories)
	return b.String()
}

// change runs do under the lock; when the power fails, half is run instead.
func (m *Machine) change(do, half func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.powerIn < 0:
	case m.powerIn == 0:
		if half != nil {
			_ = half()
		}
		return ErrPower
	default:
		m.powerIn--
	}
	return do()
}

func (m *Machine) edit(device string, do func(*storage.Contents)) error {
	c, ok := m.contents[device]
	if !ok {
		return fmt.Errorf("open %s: %w", device, fs.ErrNotExist)
	}
	do(&c)
	m.contents[device] = c
	return nil
}

// Partitions implements storage.Disk.
func (m *Machine) Partitions(context.Context, string) ([]storage.Partition, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]storage.Partition(nil), m.partitions...), nil
}

// Contents implements storage.Disk.
func (m *Machine) Contents(_ context.Context, device string) (storage.Contents, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.contents[device]
	if !ok {
		return c, fmt.Errorf("open %s: %w", device, fs.ErrNotExist)
	}
	return c, nil
}

// Grow implements storage.Disk.
func (m *Machine) Grow(_ context.Context, _ string, number int) error {
	return m.change(func() error {
		for i := range m.partitions {
			if p := &m.partitions[i]; p.Number == number {
				p.SizeBytes, p.GrowableBytes = p.SizeBytes+p.GrowableBytes, 0
			}
		}
		return nil
	}, nil)
}

// Format implements storage.Disk. Interrupted, it leaves its mark and a beginning that is not blank.
func (m *Machine) Format(_ context.Context, device, _ string) error {
	return m.change(func() error {
		m.forgetKeys(device)
		return m.edit(device, func(c *storage.Contents) {
			*c = storage.Contents{Signature: storage.FileSystem, Clean: true}
		})
	}, func() error {
		return m.edit(device, func(c *storage.Contents) { *c = storage.Contents{Formatting: true} })
	})
}

func (m *Machine) size(device string) uint64 {
	for _, p := range m.holders() {
		if p.Device == device {
			return p.SizeBytes
		}
	}
	return 0
}

// FinishFormat implements storage.Disk.
func (m *Machine) FinishFormat(_ context.Context, device string) error {
	return m.change(func() error { return m.edit(device, func(c *storage.Contents) { c.Formatting = false }) }, nil)
}

// Check implements storage.Disk.
func (m *Machine) Check(_ context.Context, device string) error {
	return m.change(func() error { return m.edit(device, func(c *storage.Contents) { c.Clean = true }) }, nil)
}

// Records implements storage.Disk.
func (m *Machine) Records() (map[string]bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.records), nil
}

// Record implements storage.Disk.
func (m *Machine) Record(volume string, clean bool) error {
	return m.change(func() error {
		if _, ok := m.records[volume]; !ok {
			m.records[volume] = clean
		}
		return nil
	}, nil)
}

// Mounted implements storage.Mounts.
func (m *Machine) Mounted(targets []string) (map[string]storage.MountState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string]storage.MountState{}
	for _, t := range targets {
		if on, ok := m.mounts[t]; ok {
			out[t] = on
		}
	}
	return out, nil
}

// Mount implements storage.Mounts. It refuses what mount(2) would, and what e2fsck should have seen first.
func (m *Machine) Mount(device, target, fileSystem string, _ []string) error {
	return m.change(func() error {
		if fileSystem == storage.PoolMember {
			return m.mountDataset(device, target)
		}
		c := m.contents[device]
		if c.Signature != fileSystem || c.Formatting || !c.Clean {
			return fmt.Errorf("mount %s on %s: wrong file system, or not checked: %+v", device, target, c)
		}
		for _, p := range m.holders() {
			if p.Device == device {
				m.mounts[target] = storage.MountState{Numbers: p.Numbers, FileSystem: fileSystem, Source: device}
			}
		}
		return nil
	}, nil)
}

// Directory implements storage.Mounts.
func (m *Machine) Directory(path string) (fs.FileMode, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	mode, ok := m.directories[path]
	if !ok {
		return 0, fs.ErrNotExist
	}
	return mode, nil
}

// MakeDirectory implements storage.Mounts.
func (m *Machine) MakeDirectory(path string, mode fs.FileMode) error {
	return m.change(func() error {
		m.directories[path] = mode
		return nil
	}, nil)
}
