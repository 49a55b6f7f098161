package pool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Errors of pools, beside those of package zfs.
var (
	// ErrUnconfirmed is a destructive operation that nobody has confirmed.
	ErrUnconfirmed = errors.New("needs a confirmation")
	// ErrInUseElsewhere: another system has the pool imported, or had it last.
	ErrInUseElsewhere = errors.New("is in use by another system")
	// ErrNewer: the pool has features that the module does not know.
	ErrNewer = errors.New("is newer than this system's ZFS")
	// ErrTooSmall: a device is smaller than those that it is to stand in for.
	ErrTooSmall = errors.New("device is too small")
)

// Pools is what is asked of the programs of OpenZFS. Package zpool implements it, and pooltest fakes it. All methods may be called concurrently. Names of vdevs are as
// zpool takes them: mirror-0, a path, or a GUID. Errors name the command and what it said, and are one of a class where that is known.
type Pools interface {
	// Pools are those that are imported, by name.
	Pools(ctx context.Context) ([]Pool, error)
	// Importable are those that are found on devices and not imported, the destroyed ones too.
	Importable(ctx context.Context, devices []string) ([]Importable, error)
	// RewindDryRun says what an import by a rewind would come to. It changes nothing.
	RewindDryRun(ctx context.Context, guid zfs.GUID, devices []string) (Rewind, error)
	Create(ctx context.Context, c Creation) error
	Import(ctx context.Context, i Import) error
	Export(ctx context.Context, pool string) error
	// Destroy destroys a pool. Its name is checked against nothing.
	Destroy(ctx context.Context, pool string) error
	Set(ctx context.Context, pool, property, value string) error
	// Add adds vdevs, which is for good where the pool has RAIDZ.
	Add(ctx context.Context, pool string, groups []Group) error
	// Attach makes a mirror of a disk, or a mirror or RAIDZ one disk wider.
	Attach(ctx context.Context, pool, vdev, device string) error
	Detach(ctx context.Context, pool, vdev string) error
	// Replace has a device, or a spare, take the place of another.
	Replace(ctx context.Context, pool, vdev, device string) error
	// Remove removes a top-level vdev, whose data goes to the others first, or a spare, log or cache device.
	Remove(ctx context.Context, pool, vdev string) error
	// Offline takes a device out. With fault it is marked as faulty, so that ZFS does not come back to it by itself.
	Offline(ctx context.Context, pool, vdev string, fault bool) error
	// Online brings a device back. With expand it is used to its whole size.
	Online(ctx context.Context, pool, vdev string, expand bool) error
	// SetPath says where a device of a pool is now. Nothing is opened by it.
	SetPath(ctx context.Context, pool, vdev, device string) error
	// Clear forgets the errors of a pool or, if vdev is not empty, of one of its devices, and has it tried again.
	Clear(ctx context.Context, pool, vdev string) error
	// Scrub and Trim start, or go on with what was paused.
	Scrub(ctx context.Context, pool string) error
	Trim(ctx context.Context, pool string) error
}

// Creation is a pool that is to be made.
type Creation struct {
	Pool   string
	Groups []Group
	// Properties are the pool's, FileSystem those of its root dataset.
	Properties, FileSystem map[string]string
}

// Group is a vdev as zpool is asked for it.
type Group struct {
	Class   Class
	Layout  Layout
	Devices []string
}

// Import is a pool that is to be imported. Nothing of it is mounted.
type Import struct {
	GUID zfs.GUID
	// Name is what it is to be called, empty for its own.
	Name string
	// Devices are where to look for it.
	Devices  []string
	ReadOnly bool
	// Force imports what another system used last. Rewind gives up the latest changes to come to a state that can be read.
	Force, Rewind bool
}

// Devices is the side of disks.
type Devices interface {
	// Disks are those of the machine. One that Prepare has made ready, and that nothing was written to since, counts as blank.
	Disks(ctx context.Context) ([]Disk, error)
	// Prepare makes a disk ready for a leaf, and returns the device that ZFS is given. What was on the disk is lost. It fails on a disk that is not as d says any more, and may be repeated.
	Prepare(ctx context.Context, d Disk) (device string, err error)
	// Grow makes what Prepare has made as large as the disk.
	Grow(ctx context.Context, d Disk) error
}

// Memory keeps, beyond a restart, which pools were there. Without it, a pool whose disks are late would be created anew.
type Memory interface {
	Remembered(ctx context.Context) (map[string]zfs.GUID, error)
	// Remember keeps the GUID of a pool; 0 forgets it.
	Remember(ctx context.Context, pool string, guid zfs.GUID) error
}

// Observed is what was found.
type Observed struct {
	// Now is the time of the observation.
	Now        time.Time
	Pools      []Pool
	Importable []Importable
	Disks      []Disk
	Remembered map[string]zfs.GUID
	// Rewinds has an entry for each damaged pool that was looked at, by name.
	Rewinds map[string]Rewind
}

// Reconciler is the domain of pools. It implements the Domain of package reconcile.
type Reconciler struct {
	pools   Pools
	devices Devices
	memory  Memory
	now     func() time.Time
}

// New returns the domain. Now is the clock; nothing but schedules, rates and the ages of things depend on it.
func New(pools Pools, devices Devices, memory Memory, now func() time.Time) *Reconciler {
	return &Reconciler{pools: pools, devices: devices, memory: memory, now: now}
}

// Observe reads disks and pools, and makes the dry runs of rewinds that are declared.
func (r *Reconciler) Observe(ctx context.Context, spec Spec) (Observed, error) {
	obs := Observed{Now: r.now(), Rewinds: map[string]Rewind{}}
	var err error
	if obs.Disks, err = r.devices.Disks(ctx); err != nil {
		return Observed{}, fmt.Errorf("list disks: %w", err)
	}
	if obs.Pools, err = r.pools.Pools(ctx); err != nil {
		return Observed{}, fmt.Errorf("list pools: %w", err)
	}
	if obs.Remembered, err = r.memory.Remembered(ctx); err != nil {
		return Observed{}, fmt.Errorf("read which pools were there: %w", err)
	}
	devices := obs.labelled()
	if len(devices) == 0 {
		return obs, nil // with no place named, zpool would look by itself, by means that a node does not have
	}
	if obs.Importable, err = r.pools.Importable(ctx, devices); err != nil {
		return Observed{}, fmt.Errorf("look for pools to import: %w", err)
	}
	for _, p := range spec.Pools {
		found := obs.candidates(p)
		if !p.Rewind || len(found) != 1 || found[0].Problem != Damaged {
			continue
		}
		if obs.Rewinds[p.Name], err = r.pools.RewindDryRun(ctx, found[0].GUID, devices); err != nil {
			return Observed{}, fmt.Errorf("try a rewind of pool %s: %w", p.Name, err)
		}
	}
	return obs, nil
}

// labelled are the devices on which a label of ZFS was found.
func (o Observed) labelled() []string {
	var out []string
	for _, d := range o.Disks {
		if d.Label != nil {
			out = append(out, d.Label.Device)
		}
	}
	return out
}

// candidates are the pools that could be imported as the one that is declared. A destroyed pool is none.
func (o Observed) candidates(p PoolSpec) []Importable {
	var out []Importable
	for _, i := range o.Importable {
		if i.Destroyed || (p.GUID == 0 && i.Name != p.Name) || (p.GUID != 0 && i.GUID != p.GUID) {
			continue
		}
		out = append(out, i)
	}
	return out
}

// imported returns the pool of a name.
func (o Observed) imported(name string) (Pool, bool) {
	for _, p := range o.Pools {
		if p.Name == name {
			return p, true
		}
	}
	return Pool{}, false
}

// diskOf returns the disk that a leaf is on. What ZFS has written on the disk counts; where there is no such thing, the path of a leaf that is open does.
func (o Observed) diskOf(leaf Vdev) (Disk, bool) {
	for _, d := range o.Disks {
		if d.Label != nil && leaf.GUID != 0 && d.Label.GUID == leaf.GUID {
			return d, true
		}
	}
	if leaf.State.lost() {
		return Disk{}, false
	}
	for _, d := range o.Disks {
		for _, path := range d.Devices {
			if path == leaf.Path && d.Label == nil {
				return d, true
			}
		}
	}
	return Disk{}, false
}
