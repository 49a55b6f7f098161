package diagnose

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cyvive/cyvive/internal/storage/pool"
)

// spare asks for a spare to stand in for a device, once, if there is one that is free.
func (e *Engine) spare(p pool.Pool, leaf pool.Vdev, why string) []Action {
	k := key{p.GUID, leaf.GUID}
	if e.acted[k] || !spareable(p, leaf) {
		return nil
	}
	a := Action{Kind: UseSpare, Pool: p.Name, PoolGUID: p.GUID, Vdev: leaf.Name, VdevGUID: leaf.GUID, Why: why}
	for _, v := range p.Vdevs {
		if v.Class == pool.Spare && v.State == pool.Available {
			a.Spares = append(a.Spares, v)
		}
	}
	if len(a.Spares) == 0 {
		return nil
	}
	e.acted[k] = true
	return []Action{a}
}

// Failed takes an action that could not be carried out, so that it is returned again when Look next finds that it is needed.
func (e *Engine) Failed(a Action) { delete(e.acted, key{a.PoolGUID, a.VdevGUID}) }

// Left takes an action that is not carried out, as on a pool that nobody has declared, and says whether one like it was taken within Config.Keep. The device stays as it
// is, and with every so many errors the action is returned anew.
func (e *Engine) Left(a Action, now time.Time) (known bool) {
	maps.DeleteFunc(e.left, func(_ leaving, at time.Time) bool { return now.Sub(at) > e.cfg.Keep })
	l := leaving{a.Kind, key{a.PoolGUID, a.VdevGUID}, a.Why}
	if _, known = e.left[l]; !known && len(e.left) < maxCases {
		e.left[l] = now
	}
	return known
}

// spareable says that ZFS would have a spare stand in: not for log and cache devices, nor for those of the classes special and dedup (spa_vdev_attach in
// module/zfs/spa.c, zpool_vdev_attach in lib/libzfs/libzfs_pool.c), nor where one does already or the device is being replaced. A spare that has failed itself is
// replaced by another, which stands in beside it.
func spareable(p pool.Pool, leaf pool.Vdev) bool {
	if leaf.Class != pool.Normal {
		return false
	}
	for _, v := range p.Vdevs {
		if parent, found := parentOf(v, leaf); found && (parent.Type == "replacing" || parent.Type == "spare" && !lastOfAll(parent, leaf)) {
			return false
		}
	}
	return true
}

// lastOfAll says that a leaf is the newest spare of a place of which nothing answers.
func lastOfAll(place pool.Vdev, leaf pool.Vdev) bool {
	last := len(place.Children) - 1
	return last > 0 && place.Children[last].GUID == leaf.GUID && !slices.ContainsFunc(place.Children, func(c pool.Vdev) bool { return !gone(c.State) })
}

// parentOf finds the vdev that a leaf is right below of.
func parentOf(v pool.Vdev, leaf pool.Vdev) (pool.Vdev, bool) {
	for _, c := range v.Children {
		if len(c.Children) == 0 && c.GUID == leaf.GUID {
			return v, true
		}
		if parent, found := parentOf(c, leaf); found {
			return parent, true
		}
	}
	return pool.Vdev{}, false
}

// Look compares what is known with the state of all pools, and is due at Next at the latest. It forgets what is gone.
func (e *Engine) Look(pools []pool.Pool, now time.Time) []Action { return e.look(pools, now, now) }

// look is Look at an event, which may be read long after it was reported: what is too old by its time is forgotten, and nothing if it has none. Errors that are newer may
// be those for which another device, whose errors are yet to be read, yields.
func (e *Engine) look(pools []pool.Pool, now, event time.Time) []Action {
	e.begin(now)
	var out []Action
	present := map[key]pool.Vdev{}
	for _, p := range pools {
		for _, leaf := range p.Leaves() {
			if leaf.Class != pool.Spare {
				present[key{p.GUID, leaf.GUID}] = leaf
			}
		}
	}
	e.drop(func(k key, f *file) bool {
		leaf, there := present[k]
		f.checksums.forget(event)
		f.ios.forget(event)
		f.slow.forget(event)
		return !there || f.over(leaf) || now.Sub(f.last) > e.cfg.Keep && f.verdict == ""
	})
	for k := range e.gone {
		if leaf, there := present[k]; !there || !gone(leaf.State) {
			delete(e.gone, k)
			delete(e.acted, k)
		}
	}
	before := e.well
	e.well, e.looked = map[key]time.Time{}, now
	for _, p := range pools {
		if p.State == pool.Suspended || p.ReadOnly {
			continue
		}
		for _, v := range p.Vdevs {
			out = append(out, e.vdev(p, v, now)...)
			out = append(out, e.release(p, v, before, now)...)
		}
	}
	return out
}

// over says that a case had its consequence, and that the device goes on: it could not be taken out, or is back, or a person has cleared the errors for which it was marked.
//
// The kernel has no event of that for a device that is online (vdev_clear in module/zfs/vdev.c), but for the pool's configuration being written. It counts checksum errors
// and slow I/Os before it reports them (zio_checksum_verify and zio_done in module/zfs/zio.c, vdev_raidz_checksum_error in module/zfs/vdev_raidz.c), so pools that were
// looked at after the events have the counts.
func (f *file) over(leaf pool.Vdev) bool {
	if !f.solved || leaf.State != pool.Online {
		return false
	}
	return f.verdict == "" || leaf.ReadErrors+leaf.WriteErrors+leaf.ChecksumErrors+leaf.SlowIOs == 0
}

// vdev looks at the devices of a top-level vdev.
func (e *Engine) vdev(p pool.Pool, v pool.Vdev, now time.Time) []Action {
	var out []Action
	for _, leaf := range v.Leaves() {
		k := key{p.GUID, leaf.GUID}
		if v.Class == pool.Spare || leaf.GUID == 0 {
			continue
		}
		if f := e.cases[k]; f != nil && !f.due.IsZero() && !now.Before(f.due) {
			f.due = time.Time{}
			if leaf.State == pool.Online || leaf.State == pool.Degraded {
				f.solved = true
				why := fmt.Sprintf("%d errors of I/O in %s", f.ios.n, f.ios.within)
				out = append(out, Action{Kind: Fault, Pool: p.Name, PoolGUID: p.GUID, Vdev: leaf.Name, VdevGUID: leaf.GUID, Why: why})
				out = append(out, e.spare(p, leaf, why)...)
				continue
			}
		}
		if !gone(leaf.State) {
			continue
		}
		if _, seen := e.gone[k]; !seen {
			e.gone[k] = now
		}
		if since := now.Sub(e.gone[k]); since >= e.cfg.SpareAfter {
			out = append(out, e.spare(p, leaf, fmt.Sprintf("it has been %s for %s", leaf.State, since.Round(time.Second)))...)
		}
	}
	return out
}

// release detaches spares that stand in for a device which is well again. A resilver has to be over, and not to be about to begin: until then the device may lack what
// was written meanwhile. A device that is only marked is online, too; after a restart, by which marks are lost, the kernel's count of its errors still tells. Before has
// since when devices were well, as they were looked at last. What was asked for is asked for again after as long.
func (e *Engine) release(p pool.Pool, v pool.Vdev, before map[key]time.Time, now time.Time) []Action {
	var out []Action
	if v.Type == "spare" && len(v.Children) >= 2 && v.Children[0].State == pool.Online && !p.Scan.Resilvers() && !waits(v) {
		original := v.Children[0]
		k := key{p.GUID, original.GUID}
		if f := e.cases[k]; f != nil && f.verdict != "" || original.ChecksumErrors >= e.cfg.Checksums.N {
			return nil
		}
		since, seen := before[k]
		if !seen {
			since = now
		}
		if now.Sub(since) < e.cfg.ReleaseAfter {
			e.well[k] = since
			return nil
		}
		a := Action{Kind: DetachSpare, Pool: p.Name, PoolGUID: p.GUID, Vdev: original.Name, VdevGUID: original.GUID, Why: "it is well again"}
		a.Spares = slices.Clone(v.Children[1:])
		return []Action{a}
	}
	for _, c := range v.Children {
		out = append(out, e.release(p, c, before, now)...)
	}
	return out
}

// waits says that a device below has its resilver still before it, or is being replaced.
func waits(v pool.Vdev) bool {
	return v.Waiting || v.Type == "replacing" || slices.ContainsFunc(v.Children, waits)
}
