package storagetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/storage"
)

// pools are the pools of ZFS that the machine has imported, and what all that it ever had hold.
type pools struct {
	imported map[string]imported
	// datasets are the properties of each dataset of a pool, by the pool's GUID.
	datasets map[uint64]map[string]map[string]string
	made     uint64
	// sizes are those of the pools as they were made or expanded last, by GUID.
	sizes map[uint64]uint64
	// points are the mount points that were sealed.
	points map[string]bool
}

type imported struct {
	guid      uint64
	device    string
	sizeBytes uint64
}

func newPools() pools {
	return pools{imported: map[string]imported{}, datasets: map[uint64]map[string]map[string]string{}, sizes: map[uint64]uint64{}, points: map[string]bool{}}
}

func (p *pools) print(w io.Writer) {
	for _, name := range slices.Sorted(maps.Keys(p.imported)) {
		i := p.imported[name]
		fmt.Fprintf(w, "pool %s on %s %d MiB\n", name, i.device, i.sizeBytes>>20)
		for _, d := range slices.Sorted(maps.Keys(p.datasets[i.guid])) {
			fmt.Fprintf(w, "dataset %s/%s %v\n", name, d, p.datasets[i.guid][d])
		}
	}
}

// exportPool is what a boot does to pools: each is as it was left.
func (m *Machine) exportPool(clean bool) {
	for _, i := range m.pools.imported {
		c := m.contents[i.device]
		c.Pool.Exported = clean
		m.contents[i.device] = c
	}
	clear(m.pools.imported)
}

// Pool implements storage.Pools.
func (m *Machine) Pool(_ context.Context, name string, properties []string) (storage.PoolState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, ok := m.pools.imported[name]
	if !ok {
		return storage.PoolState{}, nil
	}
	datasets := map[string]map[string]string{}
	for d, set := range m.pools.datasets[i.guid] {
		datasets[d] = maps.Clone(set)
		maps.DeleteFunc(datasets[d], func(name, _ string) bool { return !slices.Contains(properties, name) })
	}
	return storage.PoolState{
		Imported: true, GUID: i.guid, SizeBytes: i.sizeBytes, ExpandableBytes: m.size(i.device) - i.sizeBytes, Datasets: datasets,
	}, nil
}

// Make implements storage.Pools. Interrupted, it leaves labels of a pool that cannot be imported.
func (m *Machine) Make(_ context.Context, name, device string, _, _ map[string]string) error {
	return m.change(func() error {
		if _, ok := m.pools.imported[name]; ok {
			return fmt.Errorf("make pool %s: it exists", name)
		}
		m.pools.made++
		guid := m.pools.made
		m.pools.imported[name] = imported{guid: guid, device: device, sizeBytes: m.size(device)}
		m.pools.sizes[guid] = m.size(device)
		m.pools.datasets[guid] = map[string]map[string]string{}
		return m.edit(device, func(c *storage.Contents) {
			// The mark stays: nothing of ZFS lies where it is.
			*c = storage.Contents{Signature: storage.PoolMember, Formatting: c.Formatting, Pool: storage.PoolLabel{Name: name, GUID: guid}}
		})
	}, func() error {
		return m.edit(device, func(c *storage.Contents) {
			*c = storage.Contents{Signature: storage.PoolMember, Formatting: c.Formatting, Pool: storage.PoolLabel{Name: name, GUID: 1 << 40}}
		})
	})
}

// Import implements storage.Pools.
func (m *Machine) Import(_ context.Context, name string, guid uint64, device string) error {
	return m.change(func() error {
		c := m.contents[device]
		if c.Signature != storage.PoolMember || c.Pool.GUID != guid || m.pools.datasets[guid] == nil {
			return fmt.Errorf("import pool %s from %s: no such pool: %+v", name, device, c)
		}
		if m.crypt.open[storage.Data].Device == "" && strings.HasPrefix(device, "/dev/mapper/") {
			return errors.New("import pool: its device is not open")
		}
		m.pools.imported[name] = imported{guid: guid, device: device, sizeBytes: m.pools.sizes[guid]}
		return m.edit(device, func(c *storage.Contents) { c.Pool.Exported = false })
	}, nil)
}

// Expand implements storage.Pools.
func (m *Machine) Expand(_ context.Context, name, device string) error {
	return m.change(func() error {
		i := m.pools.imported[name]
		i.sizeBytes = m.size(device)
		m.pools.imported[name], m.pools.sizes[i.guid] = i, i.sizeBytes
		return nil
	}, nil)
}

// dataset returns the properties of a dataset of an imported pool, and nil if there is none.
func (m *Machine) dataset(name string) (datasets map[string]map[string]string, below string, err error) {
	pool, below, _ := strings.Cut(name, "/")
	i, ok := m.pools.imported[pool]
	if !ok {
		return nil, "", fmt.Errorf("dataset %s: the pool is not imported", name)
	}
	return m.pools.datasets[i.guid], below, nil
}

// MakeDataset implements storage.Pools.
func (m *Machine) MakeDataset(_ context.Context, name string, properties map[string]string) error {
	return m.change(func() error {
		all, below, err := m.dataset(name)
		if err != nil {
			return err
		}
		if all[below] != nil {
			return fmt.Errorf("make dataset %s: it exists", name)
		}
		all[below] = maps.Clone(properties)
		return nil
	}, nil)
}

// SetDataset implements storage.Pools.
func (m *Machine) SetDataset(_ context.Context, name string, properties map[string]string) error {
	return m.change(func() error {
		all, below, err := m.dataset(name)
		if err != nil {
			return err
		}
		if all[below] == nil {
			return fmt.Errorf("set dataset %s: there is none", name)
		}
		maps.Copy(all[below], properties)
		return nil
	}, nil)
}

// mountDataset refuses what mount(2) would, and a mount point that was not sealed or whose parent is not mounted.
func (m *Machine) mountDataset(name, target string) error {
	all, below, err := m.dataset(name)
	switch {
	case err != nil:
		return err
	case all[below]["mountpoint"] != "legacy":
		return fmt.Errorf("mount %s: its mount point is %q", name, all[below]["mountpoint"])
	case !m.pools.points[target]:
		return fmt.Errorf("mount %s on %s: what is below it was not sealed", name, target)
	case target != "/var" && m.mounts["/var"] == (storage.MountState{}):
		return fmt.Errorf("mount %s on %s: /var is not mounted", name, target)
	}
	m.mounts[target] = storage.MountState{Numbers: "0:" + below, FileSystem: storage.PoolMember, Source: name}
	return nil
}

// MakeMountPoint implements storage.Mounts.
func (m *Machine) MakeMountPoint(target string) error {
	return m.change(func() error {
		parent := path.Dir(target)
		if _, ok := m.directories[parent]; !ok && parent != "/" && parent != "/var" {
			return fmt.Errorf("make mount point %s: there is no %s", target, parent)
		}
		m.pools.points[target] = true
		return nil
	}, nil)
}

// BeginPool implements storage.Disk.
func (m *Machine) BeginPool(_ context.Context, device string) error {
	return m.change(func() error {
		return m.edit(device, func(c *storage.Contents) { c.Formatting = true })
	}, nil)
}
