package pool

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Observed is what was found.
type Observed struct {
	// Now is the time of the observation.
	Now        time.Time
	Pools      []Pool
	Importable []Importable
	Disks      []Disk
	Remembered map[string]zfs.GUID
	// Encrypts says that disks can be encrypted on this node.
	Encrypts bool
	// Rewinds has an entry for each damaged pool that was looked at, by name.
	Rewinds map[string]Rewind
	// Claimed are pools whose import was refused a while ago, since another system used them last. That is not told of each that is found: what is told of one is
	// the first of many things (check_status in lib/libzfs/libzfs_status.c, 2.3.9), and nothing where the other system has no hostid.
	Claimed map[zfs.GUID]bool
	// Unopened are devices that were brought online a while ago and stayed out of use, though their disks are here. Each attempt stops the I/O of a whole vdev
	// (vdev_reopen in module/zfs/vdev.c, 2.3.9), and makes an event for which pools are looked at again.
	Unopened map[zfs.GUID]bool
	// Late are pools that lack devices, and were found a moment ago, with how much longer those are waited for: a disk may answer later than others when a machine starts.
	// Of a mirror, the half that is here may be the older one, and what was written since would be given up.
	Late map[zfs.GUID]time.Duration
	// Failed are operations that copy data and could not be begun a while ago, by their text: a replacement that is too small is tried again and again, and no scrub waits for it.
	Failed map[string]bool
}

// Reconciler is the domain of pools. It implements the Domain of package reconcile.
type Reconciler struct {
	pools   Pools
	devices Devices
	memory  Memory
	now     func() time.Time
	// claimed has the pools of Observed.Claimed, unopened the devices of Observed.Unopened, each with the time until which it counts.
	claimed, unopened map[zfs.GUID]time.Time
	// lacking has the pools that lacked devices when they were looked for last.
	lacking map[zfs.GUID]lack
	// failed has the operations that copy data and could not be begun, by their text, with the time until which that counts.
	failed map[string]time.Time
}

// lack is the fewest devices that a pool has lacked, and since when.
type lack struct {
	fewest int
	since  time.Time
}

// failedLife is how long an operation that copies data and could not be begun keeps others of its pool waiting no more.
const failedLife = 10 * time.Minute

// latest is how long the missing disks of a pool are waited for since the last one came, which may have to spin up, before it is imported without them. It is less than what kubelet waits for pools
// at most, which leaves memory to them.
const latest = 45 * time.Second

// claimLife is how long an import that was refused is not tried again as it was: the other system may export the pool meanwhile.
const claimLife = 10 * time.Minute

// unopenedLife is how long a device that stayed out of use is not brought online again, unless its disk was gone meanwhile.
const unopenedLife = 10 * time.Minute

// New returns the domain. Now is the clock; nothing but schedules, rates and the ages of things depend on it.
func New(pools Pools, devices Devices, memory Memory, now func() time.Time) *Reconciler {
	return &Reconciler{pools: pools, devices: devices, memory: memory, now: now, claimed: map[zfs.GUID]time.Time{}, unopened: map[zfs.GUID]time.Time{}, failed: map[string]time.Time{}}
}

// Observe reads disks and pools, and makes the dry runs of rewinds that are declared.
func (r *Reconciler) Observe(ctx context.Context, spec Spec) (Observed, error) {
	obs := Observed{Now: r.now(), Rewinds: map[string]Rewind{}, Claimed: map[zfs.GUID]bool{}, Unopened: map[zfs.GUID]bool{}, Late: map[zfs.GUID]time.Duration{}, Failed: map[string]bool{}}
	for what, until := range r.failed {
		if obs.Failed[what] = obs.Now.Before(until); !obs.Failed[what] {
			delete(r.failed, what)
		}
	}
	for guid, until := range r.claimed {
		if obs.Claimed[guid] = obs.Now.Before(until); !obs.Claimed[guid] {
			delete(r.claimed, guid)
		}
	}
	var err error
	if obs.Disks, err = r.devices.Disks(ctx); err != nil {
		return Observed{}, fmt.Errorf("list disks: %w", err)
	}
	for guid, until := range r.unopened {
		here := slices.ContainsFunc(obs.Disks, func(d Disk) bool { return d.Label != nil && d.Label.GUID == guid })
		if obs.Unopened[guid] = here && obs.Now.Before(until); !obs.Unopened[guid] {
			delete(r.unopened, guid)
		}
	}
	if obs.Pools, err = r.pools.Pools(ctx); err != nil {
		return Observed{}, fmt.Errorf("list pools: %w", err)
	}
	if obs.Remembered, err = r.memory.Remembered(ctx); err != nil {
		return Observed{}, fmt.Errorf("read which pools were there: %w", err)
	}
	obs.Encrypts = r.devices.Encrypts()
	if err := r.reopen(ctx, &obs); err != nil {
		return Observed{}, err
	}
	devices := obs.labelled()
	if !obs.strangers() {
		r.lacking = nil
		return obs, nil // to look for pools, zpool reads every device, and opens those pools that it finds
	}
	if obs.Importable, err = r.pools.Importable(ctx, devices); err != nil {
		return Observed{}, fmt.Errorf("look for pools to import: %w", err)
	}
	r.await(&obs)
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

// await notes which pools are late.
func (r *Reconciler) await(obs *Observed) {
	lacking := map[zfs.GUID]lack{}
	for _, i := range obs.Importable {
		if len(i.Missing) == 0 || len(i.LostLogs) > 0 { // of the second, a person decides
			continue
		}
		l, known := r.lacking[i.GUID]
		if !known || len(i.Missing) < l.fewest { // they come one by one
			l = lack{len(i.Missing), obs.Now}
		}
		lacking[i.GUID] = l
		if left := latest - obs.Now.Sub(l.since); left > 0 {
			obs.Late[i.GUID] = left
		}
	}
	r.lacking = lacking
}

// reopen opens containers anew whose disks were pulled and are here again, where no pool is in between: until then, nobody can see what is on them. What does
// not open says so itself.
func (r *Reconciler) reopen(ctx context.Context, obs *Observed) error {
	opened := false
	for _, d := range obs.Disks {
		if d.stale() && !obs.uses(d) {
			_, err := r.devices.Reopen(ctx, d)
			opened = opened || err == nil
		}
	}
	if !opened {
		return nil
	}
	var err error
	if obs.Disks, err = r.devices.Disks(ctx); err != nil {
		return fmt.Errorf("list disks: %w", err)
	}
	return nil
}

// uses says that a leaf of a pool that is imported was opened in a disk's container.
func (o Observed) uses(d Disk) bool {
	return slices.ContainsFunc(o.Pools, func(p Pool) bool {
		return slices.ContainsFunc(p.Leaves(), func(leaf Vdev) bool { return leaf.Path == d.Container.Device })
	})
}

// labelled are the devices on which a label of ZFS was found, but for the one of the node's own pool: that is imported by others, and zpool opens what it looks at for itself
// alone (zpool_find_import_impl in lib/libzutil/zutil_import.c, 2.3.9), so that they could not open it just then. What is kept out of a pool is left out too: the pool would
// be made of its label, were that the newest (get_configs there), in which it is no more offline.
func (o Observed) labelled() []string {
	var out []string
	for _, d := range o.Disks {
		if d.Label != nil && !d.System && !o.keptOut(d) {
			out = append(out, d.Label.Device)
		}
	}
	return out
}

// strangers says that there is a label of a pool that is not imported, which is not the node's own.
func (o Observed) strangers() bool {
	return slices.ContainsFunc(o.Disks, func(d Disk) bool {
		return !d.System && d.Label != nil && d.Label.PoolGUID != 0 && !slices.ContainsFunc(o.Pools, func(p Pool) bool { return p.GUID == d.Label.PoolGUID })
	})
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

// diskOf returns the disk that a leaf is on. What ZFS has written on the disk counts; where there is no such thing, the path of a leaf that is open does, and so
// does the container that the leaf was opened in, whose name is its own, while that cannot be read. A disk that is not encrypted is never that of a leaf which was: whoever has
// learned its GUID could have the pool's data written there. Of a disk and a copy of it, it is the one that the leaf is open on; where it is open on neither, nobody can tell.
func (o Observed) diskOf(leaf Vdev) (Disk, bool) {
	var labelled []Disk
	for _, d := range o.Disks {
		if d.Label == nil || leaf.GUID == 0 || d.Label.GUID != leaf.GUID || leaf.sealed() && d.plain() {
			continue
		}
		if d.Label.Device == leaf.Path && !leaf.State.lost() {
			return d, true
		}
		labelled = append(labelled, d)
	}
	if len(labelled) > 0 {
		if slices.ContainsFunc(labelled, func(d Disk) bool { return d.Key() != labelled[0].Key() }) {
			return Disk{}, false
		}
		return labelled[0], true // perhaps by several paths
	}
	for _, d := range o.Disks {
		if d.stale() && d.Label == nil && leaf.Path == d.Container.Device {
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
