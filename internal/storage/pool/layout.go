package pool

import (
	"fmt"
	"slices"
)

// pair is a declared vdev and the one that it stands for.
type pair struct {
	number int
	spec   VdevSpec
	slots  []slot
	vdev   Vdev
}

// layout brings the vdevs to what is declared.
func (b *builder) layout() {
	r := newResolver(b.obs.Disks)
	var pairs, fresh []pair
	for n, v := range b.spec.vdevs() {
		p := pair{number: n + 1, spec: v}
		p.slots = r.resolveAll(v.Disks, fmt.Sprintf("vdev %d of pool %s", p.number, b.spec.Name))
		fresh = append(fresh, p)
	}
	existing := slices.DeleteFunc(slices.Clone(b.pool.Vdevs), func(v Vdev) bool {
		return v.Class == Cache || v.Class == Spare || v.Type == "hole" || v.Type == "indirect" || v.Type == "missing"
	})
	pairs, fresh, existing = match(fresh, existing, b.shared)
	more, fresh, existing := match(fresh, existing, func(p pair, v Vdev) int {
		if layout, known := v.Layout(); known && layout == p.spec.Layout && v.State != Online {
			return 1 // none of its disks is here: another in its place is a replacement and no new vdev
		}
		return 0
	})
	pairs = append(pairs, more...)
	slices.SortFunc(pairs, func(a, b pair) int { return a.number - b.number })
	var last []Op
	for _, p := range pairs {
		last = append(last, b.vdev(p)...)
	}
	for _, p := range fresh {
		b.add(p, existing)
	}
	last = append(last, b.singles(Cache, AddCache, r.resolveAll(b.spec.Cache, "the cache of pool "+b.spec.Name))...)
	last = append(last, b.singles(Spare, AddSpare, r.resolveAll(b.spec.Spares, "the spares of pool "+b.spec.Name))...)
	for _, v := range existing {
		last = append(last, b.remove(v)...)
	}
	for _, o := range last {
		b.copyOp(o)
	}
}

// match pairs each declared vdev with the one of its class for which score is highest, and above 0. The rest of both is returned too.
func match(specs []pair, existing []Vdev, score func(pair, Vdev) int) (pairs, fresh []pair, rest []Vdev) {
	rest = slices.Clone(existing)
	for _, p := range specs {
		best, at := 0, -1
		for i, v := range rest {
			if n := score(p, v); v.Class == p.spec.Class && n > best {
				best, at = n, i
			}
		}
		if at < 0 {
			fresh = append(fresh, p)
			continue
		}
		p.vdev = rest[at]
		rest = slices.Delete(rest, at, at+1)
		pairs = append(pairs, p)
	}
	return pairs, fresh, rest
}

// shared counts the disks of a declared vdev that are in an existing one.
func (b *builder) shared(p pair, v Vdev) int {
	n := 0
	for _, leaf := range v.Leaves() {
		if d, found := b.obs.diskOf(leaf); found && p.slot(d) >= 0 {
			n++
		}
	}
	return n
}

// slot is the number of the slot that means a disk; -1 if none does.
func (p pair) slot(d Disk) int {
	return slices.IndexFunc(p.slots, func(s slot) bool { return s.found && s.disk.Key() == d.Key() })
}

// copyOp adds an operation that has the pool copy data, or changes what a checkpoint keeps: one at a time. What needs a confirmation is shown beside it.
func (b *builder) copyOp(o Op) {
	if b.pool.Checkpoint != nil {
		text := fmt.Sprintf("pool %s has a checkpoint, with which its devices cannot be changed: %s", b.pool.Name, o)
		b.condition(HasCheckpoint, text, "Export the pool, and discard the checkpoint on another system with ZFS (zpool-checkpoint(8)): a node has no command for it.")
		return
	}
	if b.copying {
		return
	}
	b.op(o)
	b.copying = o.Needs == "" && !b.obs.Failed[b.ops[len(b.ops)-1].String()]
}

// add makes a new vdev of a declaration that stands for none. Orphans are the vdevs that are not declared.
func (b *builder) add(p pair, orphans []Vdev) {
	o := Op{Verb: AddVdev, Groups: []DiskGroup{{Class: p.spec.Class, Layout: p.spec.Layout}}, Encrypt: b.encrypts()}
	for _, s := range p.slots {
		if !b.takes(s) {
			return
		}
		o.Groups[0].Disks = append(o.Groups[0].Disks, s.disk)
	}
	if lost := loss(o.Groups[0].Disks); lost != "" {
		o.Needs = "what its disks hold is lost: " + lost
	}
	for _, v := range orphans {
		if v.Class == p.spec.Class && o.Needs == "" {
			o.Needs = fmt.Sprintf("vdev %s is not declared, and this one does not take its place: the pool has both then, which cannot be undone where there is RAIDZ", v.Name)
		}
	}
	for _, v := range b.pool.Vdevs {
		if o.Needs == "" && v.holds() && v.tolerates() > 0 && p.spec.Class != Log && o.Groups[0].single() {
			o.Needs = fmt.Sprintf("it has no redundancy, unlike %s: all of the pool is lost when its disk fails", v.Name)
		}
	}
	if b.pool.Checkpoint == nil || o.Needs != "" {
		b.op(o)
	}
}

// takes says that a disk can be given to the pool, or adds the condition why not.
func (b *builder) takes(s slot) bool {
	if !s.found {
		b.condition(DiskMissing, s.why, "Plug the disk in, or correct its selector.")
		return false
	}
	if owner, leaf, member := b.obs.member(s.disk); member {
		b.condition(DiskSwapped, fmt.Sprintf("%s is declared for pool %s, and is %s of pool %s", s.disk, b.spec.Name, leaf.Name, owner),
			"Choose another, or take it out of there first.")
		return false
	}
	if why := s.disk.usable(); why != "" {
		b.condition(DiskUnusable, why, "Free the disk, or choose another.")
		return false
	}
	return !b.keysLackPlace()
}

// singles adds the cache devices or spares that are missing, and returns the removal of those that are not declared.
func (b *builder) singles(class Class, verb Verb, slots []slot) []Op {
	var last []Op
	complete := true
	for _, s := range slots {
		if at := slices.IndexFunc(b.pool.Vdevs, func(v Vdev) bool { return s.found && v.Class == class && b.isOn(v, s.disk) }); at >= 0 {
			b.renew(b.pool.Vdevs[at], s.disk)
			continue
		}
		if complete = b.takes(s) && complete; !complete {
			continue
		}
		o := Op{Verb: verb, Groups: []DiskGroup{{Class: class, Disks: []Disk{s.disk}}}, Encrypt: b.encrypts()}
		if lost := loss([]Disk{s.disk}); lost != "" {
			o.Needs = "what it holds is lost: " + lost
		}
		b.op(o)
	}
	for _, v := range b.pool.Vdevs {
		wanted := slices.ContainsFunc(slots, func(s slot) bool { return s.found && b.isOn(v, s.disk) })
		if v.Class == class && !wanted && complete && v.State != InUse {
			last = append(last, Op{Verb: RemoveVdev, Vdev: name(v), VdevGUID: v.GUID, Path: v.Path, Needs: fmt.Sprintf("the pool has one %s device less", class)})
		}
	}
	return last
}

// renew has a spare or cache device that is out of use, and whose disk is here, taken out and added anew. It would stay so: an import opens it where it was, be that another
// disk by now, on which it then does not find its label (spa_load_spares and spa_load_l2cache in module/zfs/spa.c, vdev_validate_aux in module/zfs/vdev.c, 2.3.9); and
// zpool online refuses a spare, as it does a cache in a pool with autoexpand (zpool_vdev_online in lib/libzfs/libzfs_pool.c). What a person took offline stays so, as does
// what had too many errors.
func (b *builder) renew(v Vdev, d Disk) {
	lost := v.State == Removed || v.State == Unavailable || v.State == Faulted && v.Reason == "CORRUPT_DATA"
	if d.stale() {
		lost = d.Container.Keyed && v.State != InUse && v.State != Offline
	}
	if !lost || d.usable() != "" {
		return
	}
	o := Op{Verb: RenewDevice, Vdev: name(v), VdevGUID: v.GUID, Path: v.Path, Groups: []DiskGroup{{Class: v.Class, Disks: []Disk{d}}}}
	if b.pool.Checkpoint != nil { // which keeps it from being taken out (spa_vdev_remove in module/zfs/vdev_removal.c)
		b.copyOp(o)
		return
	}
	b.op(o)
}

// isOn says that a leaf is on a disk.
func (b *builder) isOn(leaf Vdev, d Disk) bool {
	on, found := b.obs.diskOf(leaf)
	return found && on.Key() == d.Key()
}

// remove takes a top-level vdev out that is not declared, if ZFS can: log devices always, others only where the pool has no RAIDZ (zpool-remove(8)).
func (b *builder) remove(v Vdev) []Op {
	raidz := slices.ContainsFunc(b.pool.Vdevs, func(v Vdev) bool { return v.Type == "raidz" || v.Type == "draid" })
	if v.Class != Log && raidz {
		b.condition(LayoutDiffers, fmt.Sprintf("vdev %s of pool %s is not declared, and cannot be taken out of a pool with RAIDZ", v.Name, b.pool.Name),
			"Declare it, or move the data to a new pool.")
		return nil
	}
	return []Op{{Verb: RemoveVdev, Vdev: name(v), VdevGUID: v.GUID, Path: v.Path, Needs: fmt.Sprintf("the %s vdev is gone, and what it holds moves to the others", v.Class)}}
}
