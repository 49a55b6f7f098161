package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Two halves of a mirror that were each imported without the other hold different data since, under one name. ZFS does not notice (all of 2.3.9):
//
//   - an import takes the newest transaction that is on any of the devices that are here, by its number and then its time (vdev_uberblock_load and
//     vdev_uberblock_compare in module/zfs/vdev_label.c). Numbers go on in both halves, so it is the half that has written more often; the other is resilvered over;
//   - a device that comes back to a pool that is imported is taken for one that lacks what was written since. Its label may be of a later transaction than the pool's:
//     vdev_validate in module/zfs/vdev.c looks at that only where SCL_CONFIG is held for writing, as by an import, and vdev_online holds SCL_STATE_ALL alone
//     (spa_vdev_state_enter in module/zfs/spa_misc.c). What it has newer uberblocks of then would be taken for the pool after a power cut;
//   - to bring one device online, to begin a scrub and to clear errors opens all others too that are out of use (vdev_reopen), where they were last, but for those that are
//     offline (vdev_open).
//
// So a label tells: it is written anew whenever a device of its vdev goes or comes (vdev_state_dirty), to all but those that are away, and says which those are. Of two
// devices of which each says that the other was away, with no third that was there with both, each was written to without the other.

// peer is what a device knew of another one of its vdev.
func (l Label) peer(guid zfs.GUID) (p Peer, known bool) {
	i := slices.IndexFunc(l.Peers, func(p Peer) bool { return p.GUID == guid })
	if i < 0 {
		return Peer{}, false
	}
	return l.Peers[i], true
}

// apart says that two devices of a vdev were each written to without the other.
func apart(a, b Label) bool {
	of, _ := a.peer(b.GUID)
	by, _ := b.peer(a.GUID)
	if a.PoolGUID == 0 || a.PoolGUID != b.PoolGUID || a.Former || b.Former || !of.Away || !by.Away {
		return false
	}
	return !slices.ContainsFunc(a.Peers, func(p Peer) bool {
		same, known := b.peer(p.GUID)
		return known && !p.Away && !same.Away // what the one had written it had, and the other went on from it
	})
}

// keepsOut says that of two devices that are apart the one was told to go on without the other ([KeepOut]), and has done so since: a device that a person took offline before
// may have gone on when the one that knows of it was gone. Where each was told so of the other, it is the one that went on for longer.
func keepsOut(a, b Label) bool {
	of, _ := a.peer(b.GUID)
	return of.Offline && a.Written.After(b.Written)
}

// keptOut says that another disk that is here is of the same pool, and goes on without this one. Beside an encrypted disk, one that is not has no say.
func (o Observed) keptOut(d Disk) bool {
	return d.Label != nil && slices.ContainsFunc(o.Disks, func(other Disk) bool {
		return other.Label != nil && (d.plain() || !other.plain()) && apart(*other.Label, *d.Label) && keepsOut(*other.Label, *d.Label)
	})
}

// astray says that the disk of a device that is out of use was written to without the pool: when it was, all devices of its vdev that the pool uses now were away, as far as it
// knew them, or it has transactions that the pool never came to. The last one may be begun on some devices only when the power fails.
func (o Observed) astray(p Pool, top, leaf Vdev, d Disk) bool {
	l := d.Label
	if l == nil || l.GUID != leaf.GUID || l.PoolGUID != p.GUID || l.Former {
		return false
	}
	knew, away := 0, 0
	for _, v := range top.Leaves() {
		if peer, known := l.peer(v.GUID); known && v.inUse() {
			knew++
			if peer.Away {
				away++
			}
		}
	}
	newest := o.newest(p)
	return knew > 0 && away == knew || newest > 0 && l.TXG > newest+1
}

// inUse says that a leaf is written to.
func (v Vdev) inUse() bool { return v.State == Online || v.State == Degraded }

// newest is the newest transaction on the devices that a pool uses; 0 if none can be read.
func (o Observed) newest(p Pool) uint64 {
	var out uint64
	for _, leaf := range p.Leaves() {
		if d, found := o.diskOf(leaf); found && leaf.inUse() && d.Label != nil && d.Label.GUID == leaf.GUID && d.Label.PoolGUID == p.GUID {
			out = max(out, d.Label.TXG)
		}
	}
	return out
}

// strays keeps devices out whose disks were written to without the pool, and offers to give up what is on them. They are taken offline, or the next scrub would open them.
func (b *builder) strays() {
	b.stray = map[zfs.GUID]bool{}
	for _, top := range b.pool.Vdevs {
		if top.Class == Spare || top.Class == Cache {
			continue
		}
		for _, leaf := range top.Leaves() {
			d, found := b.obs.diskOf(leaf)
			if !found || !leaf.State.lost() || !b.obs.astray(b.pool, top, leaf, d) {
				continue
			}
			b.stray[leaf.GUID] = true
			b.condition(DiskApart, fmt.Sprintf("%s is %s of pool %s, and was written to%s without it: it has what the pool does not have, and is kept out of it", d, leaf.Name, b.pool.Name, until(d)),
				"What is on it is left as it is. To have the disk in the pool again, confirm that it is wiped, by the pool's name. To use what is on it instead, declare the pool "+
					"with presence: exported, confirm that the disks are wiped that were in use, and declare it as before.")
			if leaf.State != Offline { // only behind that is it known that the pool can do without it
				b.awry = true
				b.op(Op{Verb: KeepOut, Vdev: leaf.GUID.String(), VdevGUID: leaf.GUID, Path: leaf.Path, Disk: &d})
				continue
			}
			b.giveUp(b.pool.GUID, d, "in the pool")
		}
	}
}

// giveUp offers to wipe a disk of a pool, with what it has and is not where the others are.
func (b *builder) giveUp(guid zfs.GUID, d Disk, others string) {
	b.op(Op{Verb: WipeDisk, GUID: guid, VdevGUID: d.Label.GUID, Disk: &d, Needs: fmt.Sprintf("what was written to it%s, and is not %s, is lost", until(d), others)})
}

// until says when a disk was written to last, where it tells.
func until(d Disk) string {
	if d.Label.Written.IsZero() {
		return ""
	}
	return " until " + d.Label.Written.UTC().Format(time.RFC3339)
}

// parted says that disks of a pool that is not imported are apart, and nobody has said which are to be used. With all, also where somebody has.
func (b *builder) parted(i Importable, all bool) bool {
	disks := slices.DeleteFunc(slices.Clone(b.obs.Disks), func(d Disk) bool { return !b.isOf(d, i.GUID) || !all && b.obs.keptOut(d) })
	var words []string
	var offers []func()
	for _, d := range disks {
		var others []string
		for _, o := range disks {
			if apart(*d.Label, *o.Label) {
				others = append(others, o.String())
			}
		}
		if len(others) > 0 {
			words = append(words, d.String()+until(d))
			offers = append(offers, func() { b.giveUp(i.GUID, d, "on "+strings.Join(others, " and ")) })
		}
	}
	if len(words) == 0 {
		return false
	}
	b.condition(DiskApart, fmt.Sprintf("disks of pool %s (%s) were each written to without the other, and hold different data: %s", i.Name, i.GUID, strings.Join(words, "; ")),
		partedNext(len(words)))
	for _, offer := range offers {
		offer()
	}
	return true
}

// partedNext is what a person can do about as many disks that are apart. One that came back a moment before the other went is told as one that went on for longer, and may
// lack what the other has: only an import shows that.
func partedNext(disks int) string {
	next := "ZFS would take one of them, and write over the other. Take out the one that is to be given up first: the pool is imported without it, and shows whether it has all that " +
		"it should. Then confirm, by the pool's name, that it is wiped."
	if disks > 2 {
		next += " Those that were written to until the same time belong together: a pool of disks of both sides is none."
	}
	return next
}

// disputed is parted for whoever is about to import, by the disks that are here then.
func (o Observed) disputed(guid zfs.GUID) bool {
	counts := func(d Disk) bool { return d.Label != nil && d.Label.PoolGUID == guid && !o.keptOut(d) }
	return slices.ContainsFunc(o.Disks, func(d Disk) bool {
		return counts(d) && slices.ContainsFunc(o.Disks, func(other Disk) bool { return counts(other) && apart(*d.Label, *other.Label) })
	})
}

// isOf says that a disk has a device of a pool that is not imported. Beside an encrypted one, a plain one has none by its declaration.
func (b *builder) isOf(d Disk, guid zfs.GUID) bool {
	return d.Label != nil && d.Label.PoolGUID == guid && d.Label.GUID != 0 && !d.Label.Former && !(b.spec.Encryption == EncryptAlways && d.plain())
}

// aside is added to the path of a device that is to be kept out, so that ZFS finds nothing there.
const aside = "-kept-out"

// keepOut takes a device offline whose disk was written to without the pool, unless it is another disk by now, or the pool has come on. ZFS opens all of its vdev anew for that
// (vdev_offline_locked in module/zfs/vdev.c, 2.3.9), and would find others of the kind, which are yet to be taken offline, where they were last. What the pool lacks and only
// this device has, it does not let go of: so it is where the other half of a mirror came back, and this one was pulled before either could be told. Then it is brought back.
func (r *Reconciler) keepOut(ctx context.Context, op Op) error {
	astray, beside, err := r.strayed(ctx, op)
	if err != nil || !astray {
		return err
	}
	for _, v := range beside {
		if !strings.HasPrefix(v.Path, "/dev/") || strings.HasSuffix(v.Path, aside) { // ZFS takes no other path
			continue
		}
		if err := r.pools.SetPath(ctx, op.Pool, v.GUID.String(), v.Path+aside); err != nil {
			return err
		}
	}
	if err = r.pools.Offline(ctx, op.Pool, op.Vdev, false); errors.Is(err, ErrLastCopy) {
		return r.bringOnline(ctx, op)
	}
	return err
}

// strayed looks once more whether the disk of a device was written to without the pool, and which others of its vdev were, and are not offline.
func (r *Reconciler) strayed(ctx context.Context, op Op) (astray bool, beside []Vdev, err error) {
	obs, err := r.both(ctx)
	if err != nil {
		return false, nil, err
	}
	for _, p := range obs.Pools {
		for _, top := range p.Vdevs {
			if p.GUID != op.GUID || top.Class == Spare || top.Class == Cache || !has(top, op.VdevGUID) {
				continue
			}
			for _, leaf := range top.Leaves() {
				d, found := obs.diskOf(leaf)
				switch {
				case !found || !leaf.State.lost() || !obs.astray(p, top, leaf, d):
				case leaf.GUID == op.VdevGUID:
					astray = true
				case leaf.State != Offline:
					beside = append(beside, leaf)
				}
			}
			return astray, beside, nil
		}
	}
	return false, nil, nil
}

// both looks at disks and at pools that are imported.
func (r *Reconciler) both(ctx context.Context) (Observed, error) {
	disks, err := r.devices.Disks(ctx)
	if err != nil {
		return Observed{}, fmt.Errorf("list disks: %w", err)
	}
	pools, err := r.pools.Pools(ctx)
	if err != nil {
		return Observed{}, fmt.Errorf("list pools: %w", err)
	}
	return Observed{Disks: disks, Pools: pools}, nil
}

// wipe makes a disk blank that was given up, as long as what it is apart from is here: where both were given up at once, the second stays.
func (r *Reconciler) wipe(ctx context.Context, op Op) error {
	here, _, err := r.strayed(ctx, op)
	if err != nil {
		return err
	}
	if !here {
		obs, err := r.both(ctx)
		if err != nil {
			return err
		}
		imported := slices.ContainsFunc(obs.Pools, func(p Pool) bool { return p.GUID == op.GUID })
		here = !imported && slices.ContainsFunc(obs.Disks, func(o Disk) bool { return o.Label != nil && apart(*o.Label, *op.Disk.Label) })
	}
	if !here {
		return fmt.Errorf("wipe %s: it %w", op.Disk, ErrLastCopy)
	}
	_, err = r.devices.Prepare(ctx, *op.Disk, false)
	return err
}
