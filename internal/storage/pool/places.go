package pool

import (
	"fmt"
	"slices"
	"strings"
)

// reserve has a member that no slot fills stay for each slot without a disk: the one that the slot may mean, or else one that is not lost, so that what is well is not
// replaced for a selector that means no disk, such as a misspelt one. It returns those that are left to be replaced or taken out. Where there are more of a kind than
// slots for them, nobody can tell which of them those slots mean, and none is touched: one whose controller is late would be replaced for one that is dead.
func (b *builder) reserve(p pair, empty []slot, free []member) (left, unclear []member) {
	free = slices.Clone(free)
	var rest []slot
	for _, s := range empty {
		at := b.meant(s, free)
		if at < 0 {
			rest = append(rest, s)
			continue
		}
		b.absent(p, s, &free[at])
		free = slices.Delete(free, at, at+1)
	}
	for _, lost := range []bool{false, true} {
		kind := slices.DeleteFunc(slices.Clone(free), func(m member) bool { return m.lost != lost })
		n := min(len(rest), len(kind))
		for i, s := range rest[:n] {
			var place *member
			if len(kind) == 1 {
				place = &kind[i]
			}
			b.absent(p, s, place)
		}
		rest = rest[n:]
		switch {
		case n == 0:
			left = append(left, kind...)
		case n < len(kind):
			unclear = append(unclear, kind...)
		}
	}
	for _, s := range rest {
		b.absent(p, s, nil)
	}
	slices.SortStableFunc(left, func(x, y member) int { return rank(x) - rank(y) })
	b.unclear(p, unclear)
	return left, unclear
}

// unclear says that it cannot be told what members are declared as.
func (b *builder) unclear(p pair, members []member) {
	if len(members) == 0 {
		return
	}
	var names []string
	for _, m := range members {
		names = append(names, m.original().Name)
	}
	b.condition(DiskMissing, fmt.Sprintf("vdev %s of pool %s is declared with a disk that is not here, and may be any of %s: none of these is replaced or taken out",
		p.vdev.Name, b.pool.Name, strings.Join(names, " and ")), "Plug it in, correct its selector, or declare another disk instead of it.")
}

// meant is the member that is on a disk which the slot may mean, one of several; -1 if there is none.
func (b *builder) meant(s slot, free []member) int {
	return slices.IndexFunc(free, func(m member) bool {
		return slices.ContainsFunc(m.Leaves(), func(leaf Vdev) bool {
			d, found := b.obs.diskOf(leaf)
			return found && slices.ContainsFunc(s.several, func(o Disk) bool { return o.Key() == d.Key() })
		})
	})
}

// absent says that a disk is not here, and what stands in for it in the place that is kept for it; nil if that is not known. Why one that is here is not taken was
// said already.
func (b *builder) absent(p pair, s slot, place *member) {
	if s.found {
		return
	}
	text, next := s.why, "Plug the disk in, correct its selector, or declare another disk, which takes its place."
	if place != nil && place.lost {
		text = fmt.Sprintf("vdev %s of pool %s is without %s: %s", p.vdev.Name, b.pool.Name, place.original().Name, s.why)
		if place.Type == "spare" {
			next = "A spare stands in for it. " + next
		}
	}
	b.condition(DiskMissing, text, next)
}

// keepSpares has spares stay for good where they are declared in the place of the device that they stand in for: without that one, a spare takes its place, and is none
// any more (zpoolconcepts(7), "Hot Spares").
func keepSpares(members []member) []Op {
	var out []Op
	for _, m := range members {
		old := m.original()
		if m.slot < 0 || m.Type != "spare" || m.by.GUID == old.GUID || old.GUID != m.Children[0].GUID || old.State == Online {
			continue
		}
		out = append(out, Op{Verb: DetachDevice, Vdev: name(old), VdevGUID: old.GUID, Path: old.Path,
			Needs: fmt.Sprintf("it is in the pool no more, and %s has its place for good, and is no spare", m.by.Name)})
	}
	return out
}
