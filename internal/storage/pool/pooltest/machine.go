package pooltest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/storage/disk"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// ErrPower is the error of the operation during which the power fails.
var ErrPower = errors.New("power failed")

// Machine implements pool.Pools, pool.Devices and pool.Memory. It is not safe for concurrent use.
type Machine struct {
	// Now is its clock.
	Now time.Time
	// All are the disks that there are, by serial number; those that are Pulled are not seen.
	All    map[string]*pool.Disk
	Pulled map[string]bool
	// Loaded are the pools that are imported, On those that are on disks and not.
	Loaded, On map[string]*pool.Pool
	Memories   map[string]zfs.GUID
	// Problems makes pools that are not imported hard to import, by name.
	Problems map[string]pool.Problem
	// Claimed are pools, by name, that another system used last. Of one that has no other problem that is not told before an import is refused.
	Claimed map[string]bool
	// Looks is how often it was looked for pools to import.
	Looks int
	// Calls are those that have changed something.
	Calls []string
	// PowerIn is after how many changes the power fails; negative for never.
	PowerIn int

	guid zfs.GUID
}

// New returns a machine with blank disks vdb, vdc and so on of 1 TB, with the serial numbers s1, s2 and so on, and a system disk vda.
func New(disks int) *Machine {
	m := &Machine{
		Now: time.Unix(1e9, 0).UTC(), All: map[string]*pool.Disk{}, Pulled: map[string]bool{}, Loaded: map[string]*pool.Pool{}, On: map[string]*pool.Pool{},
		Memories: map[string]zfs.GUID{}, Problems: map[string]pool.Problem{}, Claimed: map[string]bool{}, PowerIn: -1, guid: 1000,
	}
	for n := range disks + 1 {
		name := "vd" + string(rune('a'+n))
		d := &pool.Disk{Identity: disk.Identity{Name: name, Type: disk.SSD, Serial: fmt.Sprintf("s%d", n), SizeBytes: 1e12}, System: n == 0}
		m.place(d, name)
		m.All[d.Serial] = d
	}
	return m
}

// place gives a disk a name.
func (m *Machine) place(d *pool.Disk, name string) {
	d.Name, d.Device, d.Devices = name, "/dev/"+name, []string{"/dev/" + name, "/dev/" + name + "1"}
	if d.Label != nil {
		d.Label.Device = "/dev/" + name + "1"
	}
}

// Move gives a disk another name, as after a boot.
func (m *Machine) Move(serial, name string) { m.place(m.All[serial], name) }

// Pull takes a disk out, Plug puts it in again; its leaf has to be brought online.
func (m *Machine) Pull(serial string) {
	m.Pulled[serial] = true
	m.leaf(serial, func(v *pool.Vdev) { v.State = pool.Removed })
}

// Plug puts a disk in again.
func (m *Machine) Plug(serial string) { delete(m.Pulled, serial) }

// leaf calls f with the leaves that are on a disk.
func (m *Machine) leaf(serial string, f func(*pool.Vdev)) {
	d := m.All[serial]
	if d.Label == nil {
		return
	}
	m.walk(func(_ *pool.Pool, _ *[]pool.Vdev, v *pool.Vdev) {
		if v.GUID == d.Label.GUID && len(v.Children) == 0 {
			f(v)
		}
	})
}

// walk visits all vdevs of the pools that are imported, those below first.
func (m *Machine) walk(f func(p *pool.Pool, among *[]pool.Vdev, v *pool.Vdev)) {
	var visit func(p *pool.Pool, vs *[]pool.Vdev)
	visit = func(p *pool.Pool, vs *[]pool.Vdev) {
		for i := len(*vs) - 1; i >= 0; i-- {
			visit(p, &(*vs)[i].Children)
			if i < len(*vs) {
				f(p, vs, &(*vs)[i])
			}
		}
	}
	for _, p := range m.Loaded {
		visit(p, &p.Vdevs)
	}
}

// change counts a change, and fails where the power does.
func (m *Machine) change(format string, args ...any) error {
	if m.PowerIn == 0 {
		return ErrPower
	}
	m.PowerIn--
	m.Calls = append(m.Calls, fmt.Sprintf(format, args...))
	return nil
}

// Disks implements pool.Devices.
func (m *Machine) Disks(context.Context) ([]pool.Disk, error) {
	var out []pool.Disk
	for _, d := range m.All {
		if !m.Pulled[d.Serial] {
			c := *d
			if d.Label != nil {
				l := *d.Label
				c.Label = &l
			}
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b pool.Disk) int { return strings.Compare(a.Serial, b.Serial) })
	return out, nil
}

// Prepare implements pool.Devices.
func (m *Machine) Prepare(_ context.Context, d pool.Disk) (string, error) {
	if err := m.change("prepare %s", d.Serial); err != nil {
		return "", err
	}
	own := m.All[d.Serial]
	own.Label, own.Contents = nil, ""
	return own.Device + "1", nil
}

// Grow implements pool.Devices.
func (m *Machine) Grow(_ context.Context, d pool.Disk) error {
	m.All[d.Serial].GrowableBytes = 0
	return m.change("grow %s", d.Serial)
}

// Remembered implements pool.Memory.
func (m *Machine) Remembered(context.Context) (map[string]zfs.GUID, error) { return m.Memories, nil }

// Remember implements pool.Memory.
func (m *Machine) Remember(_ context.Context, name string, guid zfs.GUID) error {
	if err := m.change("remember %s", name); err != nil {
		return err
	}
	m.Memories[name] = guid
	if guid == 0 {
		delete(m.Memories, name)
	}
	return nil
}

// fresh is a GUID that nothing has.
func (m *Machine) fresh() zfs.GUID { m.guid++; return m.guid }

// newLeaf makes a leaf of a device, and labels its disk.
func (m *Machine) newLeaf(p *pool.Pool, device string, class pool.Class) (pool.Vdev, error) {
	for _, d := range m.All {
		if d.Device+"1" == device && !m.Pulled[d.Serial] {
			v := pool.Vdev{Name: device, Type: "disk", Class: class, GUID: m.fresh(), Path: device, State: pool.Online}
			d.Label = &pool.Label{Device: device, Pool: p.Name, PoolGUID: p.GUID, GUID: v.GUID, State: pool.LabelActive}
			if class == pool.Spare {
				v.State = pool.Available
				d.Label = &pool.Label{Device: device, GUID: v.GUID, State: pool.LabelSpare}
			}
			return v, nil
		}
	}
	return pool.Vdev{}, fmt.Errorf("open %s: %w", device, zfs.ErrNotExist)
}
