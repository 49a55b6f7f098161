package pooltest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/pool/zpool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Pools implements pool.Pools.
func (m *Machine) Pools(context.Context) ([]pool.Pool, error) {
	var out []pool.Pool
	for _, p := range m.Loaded {
		m.settle(p)
		c := *p
		c.Vdevs = cloned(p.Vdevs)
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b pool.Pool) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Size is as that of *zpool.Zpool. Sizes are what a test has given the pool.
func (m *Machine) Size(_ context.Context, name string) (zpool.Size, error) {
	p := m.Loaded[name]
	if p == nil {
		return zpool.Size{}, fmt.Errorf("find pool %s: %w", name, zfs.ErrNotExist)
	}
	m.settle(p)
	return zpool.Size{
		Name: p.Name, GUID: p.GUID, State: p.State, SizeBytes: p.SizeBytes, AllocatedBytes: p.AllocatedBytes, FreeBytes: p.FreeBytes,
		ExpandableBytes: p.ExpandableBytes, CapacityPercent: p.CapacityPercent, FragmentationPercent: p.FragmentationPercent,
	}, nil
}

func cloned(vs []pool.Vdev) []pool.Vdev {
	out := slices.Clone(vs)
	for i := range out {
		out[i].Children = cloned(out[i].Children)
	}
	return out
}

// settle gives a pool the state that its leaves have.
func (m *Machine) settle(p *pool.Pool) {
	p.State = pool.Online
	for i := range p.Vdevs {
		v := &p.Vdevs[i]
		if len(v.Children) > 0 {
			v.State = pool.Online
		}
		for _, leaf := range v.Leaves() {
			if leaf.State != pool.Online && leaf.State != pool.Available && leaf.State != pool.InUse {
				p.State = pool.Degraded
				if len(v.Children) > 0 {
					v.State = pool.Degraded
				}
			}
		}
	}
}

// Importable implements pool.Pools: pools of which all disks are there, but for single disks that are a log, and those of Problems.
func (m *Machine) Importable(_ context.Context, devices []string) ([]pool.Importable, error) {
	m.Looks++
	var out []pool.Importable
	for _, p := range m.On {
		seen := 0
		for _, d := range m.All {
			if d.Label != nil && d.Label.PoolGUID == p.GUID && slices.Contains(devices, d.Label.Device) {
				seen++
			}
		}
		if seen == 0 {
			continue
		}
		i := pool.Importable{Name: p.Name, GUID: p.GUID, State: pool.Online, Problem: m.Problems[p.Name]}
		i.Claimed = i.Problem != pool.Ready && m.Claimed[p.Name]
		if i.LostLogs = m.lostLogs(p); len(i.LostLogs) > 0 && seen+len(i.LostLogs) == len(p.Leaves()) {
			i.State, i.Missing = pool.Degraded, i.LostLogs
		} else if seen < len(p.Leaves()) {
			i.State, i.Problem, i.Missing = pool.Unavailable, pool.Incomplete, []string{"vdx1"}
		}
		out = append(out, i)
	}
	slices.SortFunc(out, func(a, b pool.Importable) int { return int(a.GUID) - int(b.GUID) })
	return out, nil
}

// lostLogs are the logs of a pool whose disk is not there.
func (m *Machine) lostLogs(p *pool.Pool) []string {
	var out []string
	for _, v := range p.Vdevs {
		there := false
		for _, d := range m.All {
			there = there || d.Label != nil && d.Label.GUID == v.GUID && !m.Pulled[d.Serial]
		}
		if v.Class == pool.Log && len(v.Children) == 0 && !there {
			out = append(out, v.Name)
		}
	}
	return out
}

// RewindDryRun implements pool.Pools.
func (m *Machine) RewindDryRun(context.Context, zfs.GUID, []string) (pool.Rewind, error) {
	return pool.Rewind{Possible: true, Words: "Would be able to return to its state as of Thu Jan 1."}, nil
}

// groups adds vdevs to a pool.
func (m *Machine) groups(p *pool.Pool, groups []pool.Group) error {
	for _, g := range groups {
		var leaves []pool.Vdev
		for _, d := range g.Devices {
			v, err := m.newLeaf(p, d, g.Class)
			if err != nil {
				return err
			}
			leaves = append(leaves, v)
		}
		if g.Layout == pool.Single {
			p.Vdevs = append(p.Vdevs, leaves...)
			continue
		}
		kind := string(g.Layout)
		p.Vdevs = append(p.Vdevs, pool.Vdev{
			Name: fmt.Sprintf("%s-%d", kind, len(p.Vdevs)), Type: strings.TrimRight(kind, "123"), Class: g.Class, GUID: m.fresh(), State: pool.Online, Children: leaves,
		})
	}
	return nil
}

// Create implements pool.Pools.
func (m *Machine) Create(_ context.Context, c pool.Creation) error {
	if err := m.change("create %s", c.Pool); err != nil {
		return err
	}
	if m.Loaded[c.Pool] != nil {
		return zfs.ErrExist
	}
	p := &pool.Pool{Name: c.Pool, GUID: m.fresh(), State: pool.Online, CapacityPercent: 1, Properties: map[string]zfs.Property{"feature@raidz_expansion": {Value: "enabled"}}}
	for name, value := range c.Properties {
		p.Properties[name] = zfs.Property{Value: value}
	}
	m.Loaded[c.Pool] = p
	return m.groups(p, c.Groups)
}

// Import implements pool.Pools.
func (m *Machine) Import(_ context.Context, i pool.Import) error {
	call := fmt.Sprintf("import %s force=%t rewind=%t readonly=%t", i.Name, i.Force, i.Rewind, i.ReadOnly)
	if i.WithoutLog {
		call += " withoutlog=true"
	}
	if err := m.change("%s", call); err != nil {
		return err
	}
	for name, p := range m.On {
		if p.GUID == i.GUID {
			if m.Claimed[p.Name] && !i.Force {
				return fmt.Errorf("import %s: it %w", i.Name, pool.ErrUsedElsewhere)
			}
			if len(m.lostLogs(p)) > 0 && !i.WithoutLog {
				return fmt.Errorf("import %s: one or more devices is currently unavailable", i.Name)
			}
			delete(m.On, name)
			p.Name, p.ReadOnly = i.Name, i.ReadOnly
			m.Loaded[p.Name] = p
			return nil
		}
	}
	return zfs.ErrNotExist
}

// Export implements pool.Pools.
func (m *Machine) Export(_ context.Context, name string) error {
	if err := m.change("export %s", name); err != nil {
		return err
	}
	m.Off(name)
	return nil
}

// Off takes a pool that is imported off, as an export or the end of the power does.
func (m *Machine) Off(name string) {
	p := m.Loaded[name]
	delete(m.Loaded, name)
	m.On[fmt.Sprintf("%s %d", name, p.GUID)] = p
}

// Destroy implements pool.Pools.
func (m *Machine) Destroy(_ context.Context, name string) error {
	if err := m.change("destroy %s", name); err != nil {
		return err
	}
	for _, d := range m.All {
		if d.Label != nil && d.Label.PoolGUID == m.Loaded[name].GUID {
			d.Label.State = pool.LabelDestroyed
		}
	}
	delete(m.Loaded, name)
	return nil
}

// Set implements pool.Pools.
func (m *Machine) Set(_ context.Context, name, property, value string) error {
	m.Loaded[name].Properties[property] = zfs.Property{Value: value}
	return m.change("set %s %s=%s", name, property, value)
}

// SetPath implements pool.Pools.
func (m *Machine) SetPath(_ context.Context, name, vdev, device string) error {
	return m.on(fmt.Sprintf("path %s %s", name, device), vdev, func(_ *pool.Pool, _ *[]pool.Vdev, v *pool.Vdev) error { v.Path = device; return nil })
}

// Add implements pool.Pools.
func (m *Machine) Add(_ context.Context, name string, groups []pool.Group) error {
	if err := m.change("add %s", name); err != nil {
		return err
	}
	return m.groups(m.Loaded[name], groups)
}
