package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Apply carries out one operation. One that destroys something is ErrUnconfirmed without its confirmation, of which the error has the words.
func (r *Reconciler) Apply(ctx context.Context, spec Spec, op Op) error {
	if !spec.allowed(op) {
		return fmt.Errorf("%s: %w: confirm it with the name of the pool, %q", op, ErrUnconfirmed, op.Pool)
	}
	if err := r.apply(ctx, spec, op); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

func (r *Reconciler) apply(ctx context.Context, spec Spec, op Op) error {
	switch op.Verb {
	case Remember:
		guid := op.GUID
		if op.Value == "forget" {
			guid = 0
		}
		return r.memory.Remember(ctx, op.Pool, guid)
	case ImportPool, RewindPool:
		return r.importPool(ctx, op)
	case CreatePool, AddVdev, AddSpare, AddCache:
		return r.make(ctx, spec, op)
	case ReplaceDevice, AttachDevice, ExpandRAIDZ:
		err := r.join(ctx, op)
		if delete(r.failed, op.String()); err != nil && ctx.Err() == nil {
			r.failed[op.String()] = r.now().Add(failedLife)
		}
		return err
	case KeepOut:
		return r.keepOut(ctx, op)
	case WipeDisk:
		return r.wipe(ctx, op)
	case BringOnline:
		return r.bringOnline(ctx, op)
	case ReopenDisk:
		_, err := r.devices.Reopen(ctx, *op.Disk)
		return err
	case EnrolDisk:
		return r.devices.Enrol(ctx, *op.Disk)
	case EraseDisk:
		return r.devices.Erase(ctx, *op.Disk)
	case GrowDevice:
		return r.growDevice(ctx, op)
	case SetProperty:
		return r.pools.Set(ctx, op.Pool, op.Property, op.Value)
	case DetachDevice:
		return r.pools.Detach(ctx, op.Pool, op.Vdev)
	case RenewDevice:
		return r.renew(ctx, op)
	case RemoveVdev:
		return r.pools.Remove(ctx, op.Pool, op.Vdev)
	case StartScrub:
		return r.pools.Scrub(ctx, op.Pool)
	case StartTrim:
		return r.pools.Trim(ctx, op.Pool)
	case ExportPool:
		return r.pools.Export(ctx, op.Pool)
	case DestroyPool:
		return r.destroy(ctx, op)
	}
	panic(fmt.Sprintf("pool: unknown operation %q", op.Verb))
}

// errApart is of a pool whose disks were written to without each other.
var errApart = errors.New("its disks were each written to without the other")

// importPool imports by the GUID, under the name that is declared.
func (r *Reconciler) importPool(ctx context.Context, op Op) error {
	disks, err := r.devices.Disks(ctx)
	if err != nil {
		return fmt.Errorf("list disks: %w", err)
	}
	if op.Sealed {
		disks = slices.DeleteFunc(disks, func(d Disk) bool { return d.plain() && d.Label.PoolGUID == op.GUID })
	}
	obs := Observed{Disks: disks}
	if obs.disputed(op.GUID) {
		return errApart // one has come just now
	}
	err = r.pools.Import(ctx, Import{
		GUID: op.GUID, Name: op.Pool, Devices: obs.labelled(),
		ReadOnly: op.ReadOnly, Force: op.Force, WithoutLog: op.WithoutLog, Rewind: op.Verb == RewindPool,
	})
	if errors.Is(err, ErrUsedElsewhere) {
		r.claimed[op.GUID] = r.now().Add(claimLife) // from now on somebody can confirm that it is forced
	}
	return err
}

// make prepares disks and makes a pool or vdevs of them.
func (r *Reconciler) make(ctx context.Context, spec Spec, op Op) error {
	var groups []Group
	for _, g := range op.Groups {
		group := Group{Class: g.Class, Layout: g.Layout}
		for _, d := range g.Disks {
			device, err := r.devices.Prepare(ctx, d, op.Encrypt)
			if err != nil {
				return fmt.Errorf("prepare %s: %w", d, err)
			}
			group.Devices = append(group.Devices, device)
		}
		groups = append(groups, group)
	}
	if op.Verb != CreatePool {
		return r.pools.Add(ctx, op.Pool, groups)
	}
	for _, p := range spec.Pools {
		if p.Name == op.Pool {
			// Nothing is mounted by itself: a mount point is declared for each dataset, and the root of a pool has none.
			return r.pools.Create(ctx, Creation{
				Pool: op.Pool, Groups: groups, Properties: p.properties(),
				FileSystem: map[string]string{"canmount": "off", "mountpoint": "none", "xattr": "sa", "acltype": "posix", "atime": "off"},
			})
		}
	}
	return fmt.Errorf("find pool %s: %w", op.Pool, zfs.ErrNotExist)
}

// join prepares a disk and has it take the place of a device, or join a vdev.
func (r *Reconciler) join(ctx context.Context, op Op) error {
	device, err := r.devices.Prepare(ctx, *op.Disk, op.Encrypt)
	if err != nil {
		return fmt.Errorf("prepare %s: %w", op.Disk, err)
	}
	if op.Verb == ReplaceDevice {
		return r.pools.Replace(ctx, op.Pool, op.Vdev, device)
	}
	return r.pools.Attach(ctx, op.Pool, op.Vdev, device)
}

// bringOnline brings a device back. One that stays out of use all the same is not tried over and over: what comes behind it, such as the replacement of the device, would
// never have its turn.
func (r *Reconciler) bringOnline(ctx context.Context, op Op) error {
	err := r.online(ctx, op)
	if errors.Is(err, ErrStaysOut) {
		r.unopened[op.VdevGUID] = r.now().Add(unopenedLife)
	}
	return err
}

// online brings a device back that may have another name by now.
func (r *Reconciler) online(ctx context.Context, op Op) error {
	if op.Disk.stale() {
		return r.onlineAnew(ctx, op)
	}
	if op.Disk.Label != nil {
		if err := r.pools.SetPath(ctx, op.Pool, op.Vdev, op.Disk.Label.Device); err != nil {
			return err
		}
	}
	return r.pools.Online(ctx, op.Pool, op.Vdev, false)
}

// anewTime is for what brings a device back whose container is opened anew, for which all disks are looked at.
const anewTime = 2 * time.Minute

// onlineAnew brings a device back whose container has to be opened anew. ZFS lets go of the one that leads nowhere when it has seen that fail, or is told to. What was begun
// is gone on with when ctx ends: what is left offline, or faulty with its container open, stays so until a person does something about it.
func (r *Reconciler) onlineAnew(ctx context.Context, op Op) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), anewTime)
	defer cancel()
	device, err := r.devices.Reopen(ctx, *op.Disk)
	if errors.Is(err, zfs.ErrBusy) {
		// Not for good: after a power cut before it is brought back, nothing would tell it from one that a person has taken offline.
		if err := r.pools.OfflineForNow(ctx, op.Pool, op.Vdev); err != nil {
			return err
		}
		device, err = r.devices.Reopen(ctx, *op.Disk)
		if err != nil {
			back, cancel := context.WithTimeout(context.WithoutCancel(ctx), anewTime) // the time may be what was lacking
			defer cancel()
			return errors.Join(err, r.pools.Online(back, op.Pool, op.Vdev, false))
		}
	}
	if err != nil {
		return err
	}
	// Before, nobody could see what is on it. While that cannot be looked at, it is what it was: it was open since.
	if astray, _, err := r.strayed(ctx, op); err == nil && astray {
		if err := r.pools.Offline(ctx, op.Pool, op.Vdev, false); !errors.Is(err, ErrLastCopy) {
			return err
		}
	}
	if err := r.pools.SetPath(ctx, op.Pool, op.Vdev, device); err != nil {
		return err
	}
	// Its errors were those of being pulled; without that, one that is faulty stays so.
	if err := r.pools.Clear(ctx, op.Pool, op.Vdev); err != nil {
		return err
	}
	return r.pools.Online(ctx, op.Pool, op.Vdev, false)
}

// renew takes a spare or cache device out and adds it anew, where its disk is now. What was begun is gone on with when ctx ends: to add what was taken out, and is not blank,
// would wait for a person.
func (r *Reconciler) renew(ctx context.Context, op Op) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), anewTime)
	defer cancel()
	class, d := op.Groups[0].Class, op.Groups[0].Disks[0]
	if err := r.pools.Remove(ctx, op.Pool, op.Vdev); err != nil {
		return err
	}
	var device string
	if d.stale() { // nothing has the one that leads nowhere any more
		var err error
		if device, err = r.devices.Reopen(ctx, d); err != nil {
			return err
		}
	} else {
		device = d.Label.Device
	}
	return r.pools.Add(ctx, op.Pool, []Group{{Class: class, Devices: []string{device}}})
}

func (r *Reconciler) growDevice(ctx context.Context, op Op) error {
	if op.Disk != nil && op.Disk.GrowableBytes >= minGrowBytes {
		if err := r.devices.Grow(ctx, *op.Disk); err != nil {
			return fmt.Errorf("grow what is on %s: %w", op.Disk, err)
		}
	}
	return r.pools.Online(ctx, op.Pool, op.Vdev, true)
}

// destroy destroys the pool that was meant, and no other that has its name by now.
func (r *Reconciler) destroy(ctx context.Context, op Op) error {
	pools, err := r.pools.Pools(ctx)
	if err != nil {
		return fmt.Errorf("look at the pool before it is destroyed: %w", err)
	}
	p, found := Observed{Pools: pools}.imported(op.Pool)
	if !found || p.GUID != op.GUID {
		return fmt.Errorf("find pool %s (%s): %w", op.Pool, op.GUID, zfs.ErrNotExist)
	}
	disks, err := r.devices.Disks(ctx)
	if err != nil {
		return fmt.Errorf("list disks before the pool is destroyed: %w", err)
	}
	if err := r.pools.Destroy(ctx, op.Pool); err != nil {
		return err
	}
	if err := r.eraseAll(ctx, p, Observed{Disks: disks}); err != nil {
		return err
	}
	return r.memory.Remember(ctx, op.Pool, 0)
}

// eraseAll erases the encrypted disks of a pool that was destroyed, as they were seen before. The others stay as ZFS leaves them.
func (r *Reconciler) eraseAll(ctx context.Context, p Pool, before Observed) error {
	var errs []error
	done := map[string]bool{} // a spare that stands in is there twice
	for _, leaf := range p.Leaves() {
		d, found := before.diskOf(leaf)
		if !found || !d.encrypted() || d.stale() || leaf.UsedBy != "" || done[d.Key()] {
			continue
		}
		done[d.Key()] = true
		if err := r.devices.Erase(ctx, d); err != nil {
			errs = append(errs, fmt.Errorf("erase %s: %w", d, err))
		}
	}
	return errors.Join(errs...)
}
