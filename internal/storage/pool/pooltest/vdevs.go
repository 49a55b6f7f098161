package pooltest

import (
	"context"
	"fmt"
	"slices"

	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// on makes a change to the vdev of a name or GUID.
func (m *Machine) on(call, vdev string, f func(p *pool.Pool, among *[]pool.Vdev, v *pool.Vdev) error) error {
	if err := m.change("%s", call); err != nil {
		return err
	}
	err := fmt.Errorf("find %s: %w", vdev, zfs.ErrNotExist)
	done := false
	m.walk(func(p *pool.Pool, among *[]pool.Vdev, v *pool.Vdev) {
		if !done && (v.Name == vdev || v.GUID.String() == vdev || v.Path == vdev) {
			err, done = f(p, among, v), true
		}
	})
	return err
}

// Attach implements pool.Pools.
func (m *Machine) Attach(_ context.Context, name, vdev, device string) error {
	return m.on(fmt.Sprintf("attach %s %s", name, device), vdev, func(p *pool.Pool, among *[]pool.Vdev, v *pool.Vdev) error {
		leaf, err := m.newLeaf(p, device, v.Class)
		switch {
		case err != nil:
			return err
		case v.Type == "raidz":
			v.Children = append(v.Children, leaf)
		case among == &p.Vdevs:
			*v = pool.Vdev{Name: "mirror-9", Type: "mirror", Class: v.Class, GUID: m.fresh(), State: pool.Online, Children: []pool.Vdev{*v, leaf}}
		default:
			*among = append(*among, leaf)
		}
		return nil
	})
}

// Detach implements pool.Pools.
func (m *Machine) Detach(_ context.Context, name, vdev string) error {
	defer m.collapse(name)
	return m.on("detach "+name, vdev, func(p *pool.Pool, among *[]pool.Vdev, v *pool.Vdev) error {
		if among == &p.Vdevs {
			return zfs.ErrInvalid
		}
		guid := v.GUID // v is in what is changed
		m.unlabel(guid)
		*among = slices.DeleteFunc(*among, func(o pool.Vdev) bool { return o.GUID == guid })
		return nil
	})
}

// StandIn has a spare of a pool stand in for the leaf on a disk.
func (m *Machine) StandIn(name, serial, spare string) {
	guid := m.All[spare].Label.GUID
	own := pool.Vdev{Name: m.All[spare].Device + "1", Type: "disk", GUID: guid, Path: m.All[spare].Device + "1", State: pool.Online}
	m.leaf(spare, func(v *pool.Vdev) { v.State = pool.InUse })
	m.leaf(serial, func(v *pool.Vdev) {
		*v = pool.Vdev{Name: "spare-1", Type: "spare", GUID: m.fresh(), State: pool.Degraded, Children: []pool.Vdev{*v, own}}
	})
}

// collapse has a spare whose original was detached take its place.
func (m *Machine) collapse(name string) {
	p := m.Loaded[name]
	if p == nil {
		return
	}
	for i := range p.Vdevs {
		for j, place := range p.Vdevs[i].Children {
			if place.Type == "spare" && len(place.Children) == 1 {
				p.Vdevs[i].Children[j] = place.Children[0]
				p.Vdevs = slices.DeleteFunc(p.Vdevs, func(v pool.Vdev) bool { return v.Class == pool.Spare && v.GUID == place.Children[0].GUID })
				return
			}
		}
	}
}

// unlabel takes the label off the disk of a leaf.
func (m *Machine) unlabel(guid zfs.GUID) {
	for _, d := range m.All {
		if d.Label != nil && d.Label.GUID == guid {
			d.Label = nil
		}
	}
}

// Replace implements pool.Pools. The resilver is over at once.
func (m *Machine) Replace(_ context.Context, name, vdev, device string) error {
	return m.on(fmt.Sprintf("replace %s %s", name, device), vdev, func(p *pool.Pool, _ *[]pool.Vdev, v *pool.Vdev) error {
		leaf, err := m.newLeaf(p, device, v.Class)
		if err == nil {
			m.unlabel(v.GUID)
			*v = leaf
		}
		return err
	})
}

// Remove implements pool.Pools.
func (m *Machine) Remove(_ context.Context, name, vdev string) error {
	return m.on("remove "+name, vdev, func(_ *pool.Pool, among *[]pool.Vdev, v *pool.Vdev) error {
		for _, leaf := range v.Leaves() {
			m.unlabel(leaf.GUID)
		}
		guid := v.GUID
		*among = slices.DeleteFunc(*among, func(o pool.Vdev) bool { return o.GUID == guid })
		return nil
	})
}

// Offline implements pool.Pools.
func (m *Machine) Offline(_ context.Context, name, vdev string, fault bool) error {
	return m.on("offline "+name, vdev, func(_ *pool.Pool, _ *[]pool.Vdev, v *pool.Vdev) error {
		for serial, d := range m.All {
			if m.Needed[serial] && d.Label != nil && d.Label.GUID == v.GUID {
				return fmt.Errorf("offline %s: it %w", vdev, pool.ErrLastCopy)
			}
		}
		if m.letGo(v); fault {
			v.State = pool.Faulted
		}
		return nil
	})
}

// OfflineForNow implements pool.Pools.
func (m *Machine) OfflineForNow(_ context.Context, name, vdev string) error {
	return m.on("offline for now "+name, vdev, func(_ *pool.Pool, _ *[]pool.Vdev, v *pool.Vdev) error { m.letGo(v); return nil })
}

// letGo takes a leaf offline, whose container is in use no more then.
func (m *Machine) letGo(v *pool.Vdev) {
	v.State = pool.Offline
	for serial, d := range m.All {
		if d.Container != nil && d.Container.Device == v.Path {
			delete(m.Busy, serial)
		}
	}
}

// Online implements pool.Pools.
func (m *Machine) Online(_ context.Context, name, vdev string, expand bool) error {
	return m.on("online "+name, vdev, func(p *pool.Pool, _ *[]pool.Vdev, v *pool.Vdev) error {
		for serial, d := range m.All {
			if m.Dead[serial] && d.Label != nil && d.Label.GUID == v.GUID {
				v.State = pool.Unavailable
				return fmt.Errorf("online %s: it %w", vdev, pool.ErrStaysOut)
			}
		}
		v.State = pool.Online
		if expand {
			v.ExpandableBytes = 0
			p.SizeBytes, p.ExpandableBytes = p.SizeBytes+p.ExpandableBytes, 0
		}
		return nil
	})
}

// Clear implements pool.Pools.
func (m *Machine) Clear(_ context.Context, name, _ string) error { return m.change("clear %s", name) }

// Scrub implements pool.Pools. It is over at once.
func (m *Machine) Scrub(_ context.Context, name string) error {
	m.Loaded[name].Scan = pool.Scan{Function: pool.Scrub, Progress: pool.Finished, End: m.Now}
	return m.change("scrub %s", name)
}

// Trim implements pool.Pools. It is over at once.
func (m *Machine) Trim(_ context.Context, name string) error {
	m.walk(func(p *pool.Pool, _ *[]pool.Vdev, v *pool.Vdev) {
		if p.Name == name {
			v.Trim = pool.Work{Progress: pool.Finished, End: m.Now}
		}
	})
	return m.change("trim %s", name)
}
