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
	// Keys says that keys of encrypted disks have a place.
	Keys bool
	// Busy are disks, by serial number, whose former container is in use until its leaf is taken offline.
	Busy map[string]bool
	// Dead are disks, by serial number, whose leaf stays out of use when it is brought online.
	Dead map[string]bool
	// Needed are disks, by serial number, whose leaf is not taken offline, as no other has what it has.
	Needed map[string]bool

	guid zfs.GUID
}

// New returns a machine with blank disks vdb, vdc and so on of 1 TB, with the serial numbers s1, s2 and so on, and a system disk vda.
func New(disks int) *Machine {
	m := &Machine{
		Now: time.Unix(1e9, 0).UTC(), All: map[string]*pool.Disk{}, Pulled: map[string]bool{}, Loaded: map[string]*pool.Pool{}, On: map[string]*pool.Pool{},
		Memories: map[string]zfs.GUID{}, Problems: map[string]pool.Problem{}, Claimed: map[string]bool{}, PowerIn: -1, guid: 1000,
		Busy: map[string]bool{}, Dead: map[string]bool{},
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
	if d.Container != nil {
		d.Container.Partition = d.Device + "1"
		d.Devices = append(d.Devices, d.Container.Device)
	}
	if d.Label != nil {
		d.Label.Device = leafOf(d)
	}
}

// leafOf is what ZFS is given of a disk.
func leafOf(d *pool.Disk) string {
	if d.Container != nil {
		return d.Container.Device
	}
	return d.Device + "1"
}

// Shut closes all containers, as the end of the power does.
func (m *Machine) Shut() {
	for _, d := range m.All {
		if d.Container != nil {
			d.Container.Open, d.Container.Stale = false, false
		}
	}
}

// Move gives a disk another name, as after a boot.
func (m *Machine) Move(serial, name string) { m.place(m.All[serial], name) }

// Pull takes a disk out, Plug puts it in again; its leaf has to be brought online.
func (m *Machine) Pull(serial string) {
	m.Pulled[serial] = true
	state := pool.Removed
	if c := m.All[serial].Container; c != nil {
		// The container stays, and fails: nothing tells ZFS that a disk was pulled.
		c.Open, c.Stale, state = false, true, pool.Faulted
		if m.Busy[serial] {
			state = pool.Online
		}
	}
	m.leaf(serial, func(v *pool.Vdev) { v.State = state })
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
			if e := d.Container; e != nil && e.Keyed && !e.Stale {
				e.Open = true
			}
			c := *d
			if d.Label != nil {
				l := *d.Label
				c.Label = &l
			}
			if d.Container != nil {
				e := *d.Container
				c.Container = &e
				if !e.Open {
					c.Label, c.Contents = nil, "an encrypted disk"
				}
			}
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b pool.Disk) int { return strings.Compare(a.Serial, b.Serial) })
	return out, nil
}

// Prepare implements pool.Devices.
func (m *Machine) Prepare(_ context.Context, d pool.Disk, encrypt bool) (string, error) {
	how := ""
	if encrypt {
		how = " encrypted"
	}
	if err := m.change("prepare %s%s", d.Serial, how); err != nil {
		return "", err
	}
	own := m.All[d.Serial]
	own.Label, own.Contents, own.Container = nil, "", nil
	if encrypt {
		own.Container = &pool.Container{Name: "pool-" + d.Serial, Device: "/dev/mapper/pool-" + d.Serial, Open: true, Keyed: true}
	}
	m.place(own, own.Name)
	return leafOf(own), nil
}

// Encrypts implements pool.Devices.
func (m *Machine) Encrypts() bool { return m.Keys }

// Reopen implements pool.Devices.
func (m *Machine) Reopen(_ context.Context, d pool.Disk) (string, error) {
	if m.Busy[d.Serial] {
		return "", fmt.Errorf("reopen %s: its container %w", d.Serial, zfs.ErrBusy)
	}
	if err := m.change("reopen %s", d.Serial); err != nil {
		return "", err
	}
	c := m.All[d.Serial].Container
	c.Open, c.Stale = true, false
	return c.Device, nil
}

// Enrol implements pool.Devices.
func (m *Machine) Enrol(_ context.Context, d pool.Disk) error {
	if err := m.change("enrol %s", d.Serial); err != nil {
		return err
	}
	m.All[d.Serial].Container.Recoverable = true
	return nil
}

// Erase implements pool.Devices.
func (m *Machine) Erase(_ context.Context, d pool.Disk) error {
	if err := m.change("erase %s", d.Serial); err != nil {
		return err
	}
	own := m.All[d.Serial]
	own.Label, own.Contents, own.Container = nil, "", nil
	m.place(own, own.Name)
	return nil
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
		if leafOf(d) == device && !m.Pulled[d.Serial] {
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
