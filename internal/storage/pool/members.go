package pool

import (
	"fmt"
	"slices"
)

// member is a place in a vdev: one device or, while it is being replaced or a spare stands in for it, several.
type member struct {
	Vdev
	// slot is that of the declaration which one of its devices fills, by; -1 if none does.
	slot int
	by   Vdev
	lost bool
}

// original is the device that the member was before a spare or replacement came.
func (m member) original() Vdev { return m.Leaves()[0] }

// members are the places of a vdev.
func (b *builder) members(p pair) []member {
	places := []Vdev{p.vdev}
	if p.vdev.Type == "mirror" || p.vdev.Type == "raidz" {
		places = p.vdev.Children
	}
	var out []member
	for _, v := range places {
		m := member{Vdev: v, slot: -1}
		m.lost = m.original().State.lost()
		for _, leaf := range v.Leaves() {
			if d, found := b.obs.diskOf(leaf); found && p.slot(d) >= 0 {
				m.slot, m.by = p.slot(d), leaf
			}
		}
		out = append(out, m)
	}
	return out
}

// vdev brings one vdev to its declaration: lost devices are replaced first, then those that are not declared, then it is made wider. It returns what makes it
// narrower.
func (b *builder) vdev(p pair) []Op {
	layout, known := p.vdev.Layout()
	mirrors := func(l Layout) bool { return l == Single || l == Mirror }
	if !known || layout != p.spec.Layout && !(mirrors(layout) && mirrors(p.spec.Layout)) {
		b.condition(LayoutDiffers, fmt.Sprintf("vdev %s of pool %s is a %s, and a %s is declared", p.vdev.Name, b.pool.Name, p.vdev.Type, p.spec.Layout),
			"ZFS does not turn one into the other. Declare what it is, or move the data to a new pool.")
		return nil
	}
	members := b.members(p)
	free := slices.DeleteFunc(slices.Clone(members), func(m member) bool { return m.slot >= 0 })
	var fresh []Disk
	var empty []slot
	for n, s := range p.slots {
		filled := slices.ContainsFunc(members, func(m member) bool { return m.slot == n })
		switch {
		case filled:
		case s.found && b.takes(s):
			fresh = append(fresh, s.disk)
		default:
			empty = append(empty, s)
		}
	}
	free, unclear := b.reserve(p, empty, free)
	for _, d := range fresh {
		switch {
		case len(free) > 0:
			b.replace(free[0], d)
			free = free[1:]
		case len(unclear) == 0:
			b.widen(p, layout, d)
		}
	}
	last := b.narrow(p, members, free)
	if len(empty) == 0 { // else the original may be the one that is declared and not here
		last = append(keepSpares(members), last...)
	}
	return last
}

// rank orders members that are not declared: the lost ones are replaced first.
func rank(m member) int {
	if m.lost {
		return 0
	}
	return 1
}

// replace has a disk take a member's place. What was in it is restored from the others, or copied from itself.
func (b *builder) replace(m member, d Disk) {
	if m.Type == "replacing" {
		return // that is done first
	}
	old := m.original()
	o := Op{Verb: ReplaceDevice, Vdev: name(old), VdevGUID: old.GUID, Path: old.Path, Disk: &d, Encrypt: b.encrypts()}
	if lost := loss([]Disk{d}); lost != "" {
		o.Needs = "what the disk holds is lost: " + lost
	}
	b.copyOp(o)
}

// widen adds a disk to a vdev.
func (b *builder) widen(p pair, layout Layout, d Disk) {
	o := Op{Verb: AttachDevice, Vdev: name(p.vdev), VdevGUID: p.vdev.GUID, Path: p.vdev.Path, Disk: &d, Encrypt: b.encrypts()}
	if layout.parity() > 0 {
		o.Verb = ExpandRAIDZ
		if b.pool.Features()["raidz_expansion"] == "" {
			b.condition(LayoutDiffers, fmt.Sprintf("vdev %s of pool %s cannot be made wider: the pool has not the feature raidz_expansion", p.vdev.Name, b.pool.Name),
				"Take the disk out of the declaration. A node upgrades no pool; another system with ZFS does (zpool-upgrade(8)), after which none with OpenZFS before 2.3 opens it.")
			return
		}
	} else if p.vdev.Type == "mirror" {
		i := slices.IndexFunc(p.vdev.Leaves(), func(v Vdev) bool { return v.State == Online })
		if i < 0 {
			return // nothing to copy from
		}
		leaf := p.vdev.Leaves()[i]
		o.Vdev, o.VdevGUID, o.Path = name(leaf), leaf.GUID, leaf.Path
	}
	if lost := loss([]Disk{d}); lost != "" {
		o.Needs = "what the disk holds is lost: " + lost
	}
	b.copyOp(o)
}

// narrow detaches what is in a mirror and is not declared, as long as a device that is declared and well stays. Others cannot be made narrower.
func (b *builder) narrow(p pair, members, free []member) []Op {
	var out []Op
	stays := slices.ContainsFunc(members, func(m member) bool { return m.slot >= 0 && m.State == Online })
	for _, m := range free {
		old := m.original()
		switch {
		case p.vdev.Type == "mirror" && stays:
			out = append(out, Op{Verb: DetachDevice, Vdev: name(old), VdevGUID: old.GUID, Path: old.Path, Needs: "the mirror has one copy less"})
		case p.vdev.Type == "mirror":
			b.condition(LayoutDiffers, fmt.Sprintf("%s in %s of pool %s is not declared, and none of those that are is well", old.Name, p.vdev.Name, b.pool.Name),
				"It stays until one is.")
		default:
			b.condition(LayoutDiffers, fmt.Sprintf("%s in %s of pool %s is not declared, and no disk to take its place is", old.Name, p.vdev.Name, b.pool.Name),
				"Declare it, or a disk instead of it.")
		}
	}
	return out
}

// name is what zpool takes for a vdev. The path of a device may lead to another by now; its GUID does not.
func name(v Vdev) string {
	if v.GUID != 0 && len(v.Children) == 0 {
		return v.GUID.String()
	}
	return v.Name
}
