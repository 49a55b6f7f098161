package machined

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/cyvive/cyvive/internal/storage/arc"
	"github.com/cyvive/cyvive/internal/storage/disk"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
)

// poolMachine is a machine with disks, and with OpenZFS so far as mirrors go. It notes what is done to it.
type poolMachine struct {
	mu         sync.Mutex
	disks      []pool.Disk
	pools      []pool.Pool
	importable []pool.Importable
	memory     map[string]zfs.GUID
	calls      []string
	// fail is what all that changes something ends with, blind what the list of pools does.
	fail, blind error
	// block, if not nil, keeps the list of pools from being told until it is closed.
	block chan struct{}
	// reports are the kernel's events, as text.
	reports io.Reader
	guids   zfs.GUID
	cache   cacheModule
}

// cacheModule is the kernel's side of an ARC.
type cacheModule struct {
	mu       sync.Mutex
	stats    arc.Stats
	pressure arc.Pressure
	// err is the error of SetLimits.
	err error
}

func (m *cacheModule) change(do func(*cacheModule)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	do(m)
}

func (m *cacheModule) Stats() (arc.Stats, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stats, nil
}

func (m *cacheModule) Pressure() (arc.Pressure, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pressure, nil
}

func (m *cacheModule) SetLimits(l arc.Limits) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		m.stats.MinBytes, m.stats.MaxBytes = l.MinBytes, l.MaxBytes
	}
	return m.err
}

func (m *poolMachine) config() *Pools {
	m.memory = map[string]zfs.GUID{}
	m.guids = 100
	m.cache.stats = arc.Stats{SizeBytes: 5, MaxBytes: 9, Hits: 3, L2Hits: 1}
	return &Pools{
		Domain: pool.New(m, m, m, fixedNow), Control: m,
		Events: func(context.Context) (io.ReadCloser, error) {
			if m.reports == nil {
				m.reports = strings.NewReader("")
			}
			return io.NopCloser(m.reports), nil
		},
		Cache: &m.cache, MemoryBytes: 8 << 30, Datasets: zfstest.New("node1", "node"),
	}
}

// blankDisk is a disk that holds nothing.
func blankDisk(device, serial string) pool.Disk {
	return pool.Disk{
		Identity: disk.Identity{Name: strings.TrimPrefix(device, "/dev/"), Type: disk.SSD, Serial: serial, SizeBytes: 8 << 30},
		Device:   device, Devices: []string{device},
	}
}

func (m *poolMachine) change(do func(*poolMachine)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	do(m)
}

func (m *poolMachine) done() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.calls)
}

// act notes a call, and carries it out.
func (m *poolMachine) act(call string, do func()) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, call)
	if m.fail == nil && do != nil {
		do()
	}
	return m.fail
}

func (m *poolMachine) Disks(context.Context) ([]pool.Disk, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.disks), nil
}

func (m *poolMachine) Prepare(_ context.Context, d pool.Disk, encrypt bool) (string, error) {
	call := "prepare " + d.Device
	if encrypt {
		call += " encrypted"
	}
	return d.Device + "1", m.act(call, nil)
}

func (m *poolMachine) Encrypts() bool { return false }

func (m *poolMachine) Reopen(_ context.Context, d pool.Disk) (string, error) {
	return d.Device + "1", m.act("reopen "+d.Device, nil)
}

func (m *poolMachine) Enrol(_ context.Context, d pool.Disk) error {
	return m.act("enrol "+d.Device, nil)
}

func (m *poolMachine) Erase(_ context.Context, d pool.Disk) error {
	return m.act("erase "+d.Device, nil)
}

func (m *poolMachine) Grow(_ context.Context, d pool.Disk) error {
	return m.act("grow "+d.Device, nil)
}

func (m *poolMachine) Remembered(context.Context) (map[string]zfs.GUID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.memory), nil
}

func (m *poolMachine) Remember(_ context.Context, name string, guid zfs.GUID) error {
	return m.act(fmt.Sprintf("remember %s %s", name, guid), func() { m.memory[name] = guid })
}

func (m *poolMachine) Pools(ctx context.Context) ([]pool.Pool, error) {
	m.mu.Lock()
	block := m.block
	m.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.blind != nil {
		return nil, m.blind
	}
	out := slices.Clone(m.pools)
	for i := range out {
		out[i].Vdevs = copiedVdevs(out[i].Vdevs)
	}
	return out, nil
}

func copiedVdevs(list []pool.Vdev) []pool.Vdev {
	out := slices.Clone(list)
	for i := range out {
		out[i].Children = copiedVdevs(out[i].Children)
	}
	return out
}

func (m *poolMachine) Importable(context.Context, []string) ([]pool.Importable, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.importable), nil
}

func (m *poolMachine) RewindDryRun(context.Context, zfs.GUID, []string) (pool.Rewind, error) {
	return pool.Rewind{}, nil
}

// Create makes a pool of mirrors.
func (m *poolMachine) Create(_ context.Context, c pool.Creation) error {
	return m.act("create "+c.Pool, func() {
		m.guids++
		p := pool.Pool{Name: c.Pool, GUID: m.guids, State: pool.Online, SizeBytes: 8 << 30, FreeBytes: 8 << 30, Properties: map[string]zfs.Property{}}
		for name, value := range c.Properties {
			p.Properties[name] = zfs.Property{Value: value}
		}
		for i, g := range c.Groups {
			top := pool.Vdev{Name: fmt.Sprintf("mirror-%d", i), Type: "mirror", Class: g.Class, State: pool.Online, GUID: m.guids * 1000}
			for _, device := range g.Devices {
				m.guids++
				top.Children = append(top.Children, pool.Vdev{Name: device, Type: "disk", Class: g.Class, Path: device, GUID: m.guids, State: pool.Online})
				for d := range m.disks {
					if m.disks[d].Device+"1" == device {
						m.disks[d].Contents = "part of pool " + c.Pool
						m.disks[d].Devices = append(m.disks[d].Devices, device)
						m.disks[d].Label = &pool.Label{Device: device, Pool: c.Pool, PoolGUID: p.GUID, GUID: m.guids, State: pool.LabelActive}
					}
				}
			}
			p.Vdevs = append(p.Vdevs, top)
		}
		m.pools = append(m.pools, p)
	})
}

func (m *poolMachine) Import(_ context.Context, i pool.Import) error {
	return m.act("import "+i.GUID.String(), nil)
}

func (m *poolMachine) Export(_ context.Context, name string) error {
	return m.act("export "+name, func() { m.pools = slices.DeleteFunc(m.pools, func(p pool.Pool) bool { return p.Name == name }) })
}

func (m *poolMachine) Destroy(_ context.Context, name string) error {
	return m.act("destroy "+name, func() { m.pools = slices.DeleteFunc(m.pools, func(p pool.Pool) bool { return p.Name == name }) })
}

func (m *poolMachine) Set(_ context.Context, name, property, value string) error {
	return m.act(fmt.Sprintf("set %s %s=%s", name, property, value), func() {
		for i := range m.pools {
			if m.pools[i].Name == name {
				m.pools[i].Properties[property] = zfs.Property{Value: value}
			}
		}
	})
}

func (m *poolMachine) Add(_ context.Context, name string, _ []pool.Group) error {
	return m.act("add to "+name, nil)
}

func (m *poolMachine) Attach(_ context.Context, name, vdev, device string) error {
	return m.act("attach "+name+" "+vdev+" "+device, nil)
}

func (m *poolMachine) Detach(_ context.Context, name, vdev string) error {
	return m.act("detach "+name+" "+vdev, nil)
}

func (m *poolMachine) Replace(_ context.Context, name, vdev, device string) error {
	return m.act("replace "+name+" "+vdev+" "+device, nil)
}

func (m *poolMachine) Remove(_ context.Context, name, vdev string) error {
	return m.act("remove "+name+" "+vdev, nil)
}

// turn sets the state of a device.
func (m *poolMachine) turn(vdev string, state pool.State) {
	for _, p := range m.pools {
		for _, top := range p.Vdevs {
			for i := range top.Children {
				if top.Children[i].GUID.String() == vdev {
					top.Children[i].State = state
				}
			}
		}
	}
}

func (m *poolMachine) Offline(_ context.Context, name, vdev string, fault bool) error {
	state := pool.Offline
	if fault {
		state = pool.Faulted
	}
	return m.act(fmt.Sprintf("offline %s %s %t", name, vdev, fault), func() { m.turn(vdev, state) })
}

func (m *poolMachine) OfflineForNow(_ context.Context, name, vdev string) error {
	return m.act("offline for now "+name+" "+vdev, func() { m.turn(vdev, pool.Offline) })
}

func (m *poolMachine) Online(_ context.Context, name, vdev string, _ bool) error {
	return m.act("online "+name+" "+vdev, func() { m.turn(vdev, pool.Online) })
}

func (m *poolMachine) SetPath(_ context.Context, name, vdev, device string) error {
	return m.act("path "+name+" "+vdev+" "+device, nil)
}

func (m *poolMachine) Clear(_ context.Context, name, vdev string) error {
	return m.act(strings.TrimSpace("clear "+name+" "+vdev), nil)
}

// scan sets the scan of a pool.
func (m *poolMachine) scan(name string, s pool.Scan) func() {
	return func() {
		for i := range m.pools {
			if m.pools[i].Name == name {
				m.pools[i].Scan = s
			}
		}
	}
}

func (m *poolMachine) Scrub(_ context.Context, name string) error {
	return m.act("scrub "+name, m.scan(name, pool.Scan{Function: pool.Scrub, Progress: pool.Running, Start: fixedNow(), TotalBytes: 4 << 20, IssuedBytes: 1 << 20}))
}

func (m *poolMachine) PauseScrub(_ context.Context, name string) error {
	return m.act("pause scrub "+name, m.scan(name, pool.Scan{Function: pool.Scrub, Progress: pool.Running, Start: fixedNow(), Paused: fixedNow()}))
}

func (m *poolMachine) StopScrub(_ context.Context, name string) error {
	return m.act("stop scrub "+name, m.scan(name, pool.Scan{Function: pool.Scrub, Progress: pool.Canceled, Start: fixedNow(), End: fixedNow()}))
}

// trim sets the trim of all devices.
func (m *poolMachine) trim(progress pool.Progress) func() {
	return func() {
		for _, p := range m.pools {
			for _, top := range p.Vdevs {
				for i := range top.Children {
					top.Children[i].Trim.Progress = progress
				}
			}
		}
	}
}

func (m *poolMachine) Trim(_ context.Context, name string) error {
	return m.act("trim "+name, m.trim(pool.Running))
}

func (m *poolMachine) SuspendTrim(_ context.Context, name string) error {
	return m.act("suspend trim "+name, m.trim(pool.Halted))
}

func (m *poolMachine) CancelTrim(_ context.Context, name string) error {
	return m.act("cancel trim "+name, m.trim(pool.Canceled))
}
