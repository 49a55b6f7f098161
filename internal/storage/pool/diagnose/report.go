package diagnose

import (
	"fmt"
	"time"

	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/pool/events"
)

// report takes a report of an error (zfs_fm_recv).
func (e *Engine) report(ev events.Event, pools []pool.Pool, now time.Time) []Action {
	opening := ev.Context == events.LoadOpen && (ev.Class == events.Checksum || ev.Class == events.IO || ev.Class == events.ProbeFailure)
	if ev.Context == events.LoadImport || opening || ev.VdevType != "" && ev.VdevType != "disk" && ev.VdevType != "file" {
		return nil
	}
	k := key{ev.PoolGUID, ev.VdevGUID}
	switch ev.Class {
	case events.PoolFailure:
		e.drop(func(c key, _ *file) bool { return c.pool == ev.PoolGUID && c.vdev != 0 })
		return []Action{notice(ev, "the pool could not be opened")}
	case events.LogReplay:
		return []Action{notice(ev, "its log of latest writes could not be read; they are lost")}
	case events.IOFailure:
		return []Action{notice(ev, fmt.Sprintf("it does no I/O any more (failmode=%s): bring its devices back, then clear its errors", ev.FailMode))}
	case events.Deadman:
		return []Action{notice(ev, fmt.Sprintf("an I/O on %s does not come back", ev.VdevPath))}
	}
	counted := ev.Class == events.IO || ev.Class == events.Delay || ev.Class == events.Checksum && !ev.OfScan()
	if !counted && !ev.IsDevice() || e.past(ev) {
		return nil
	}
	p, leaf, found := find(pools, k)
	if !found {
		return nil
	}
	f := e.open(k, ev, now)
	if f == nil || f.solved {
		return nil
	}
	if ev.IsDevice() {
		if !gone(leaf.State) {
			return nil
		}
		f.solved = true
		return e.spare(p, leaf, "it cannot be opened")
	}
	return e.count(ev, f, k, p, leaf, now)
}

// past says that an error was reported so long before the engine began that it is none to count: the kernel keeps its events (zfs_zevent_len_max, zfs(4)) for longer than an
// agent runs, and a device is not taken out today for what was the matter days ago. Slow I/Os are counted: nothing else tells that a device is marked for them.
func (e *Engine) past(ev events.Event) bool {
	var t events.Threshold
	switch ev.Class {
	case events.IO:
		t = threshold(ev.IOs, e.cfg.IOs)
	case events.Checksum:
		t = threshold(ev.Checksums, e.cfg.Checksums)
	default:
		return false
	}
	return !ev.Time.IsZero() && e.since.Sub(ev.Time) > t.Within
}

// open returns the case of a device.
func (e *Engine) open(k key, ev events.Event, now time.Time) *file {
	f := e.cases[k]
	if f == nil {
		if len(e.cases) >= maxCases {
			return nil
		}
		f = &file{}
		e.cases[k] = f
	}
	f.parent, f.last = ev.ParentGUID, now
	return f
}

// count counts an error, and draws the consequence if there are too many.
func (e *Engine) count(ev events.Event, f *file, k key, p pool.Pool, leaf pool.Vdev, now time.Time) []Action {
	at := ev.Time
	if at.IsZero() {
		at = now
	}
	switch ev.Class {
	case events.IO:
		f.ios = orNew(f.ios, ev.IOs, e.cfg.IOs)
		if f.ios.record(at) && !e.yields(k, f, at, func(o *file) *counter { return o.ios }) {
			f.due = now.Add(e.cfg.RemovalWait)
		}
	case events.Delay:
		if f.slow == nil && !ev.SlowIOs.Set {
			return nil // counted only where the device's properties say what is too slow
		}
		f.slow = orNew(f.slow, ev.SlowIOs, ev.SlowIOs)
		if f.slow.record(at) && !e.yields(k, f, at, func(o *file) *counter { return o.slow }) {
			return e.degrade(f, p, leaf, fmt.Sprintf("%d slow I/Os in %s", f.slow.n, f.slow.within))
		}
	case events.Checksum:
		f.checksums = orNew(f.checksums, ev.Checksums, e.cfg.Checksums)
		if f.checksums.record(at) && !e.yields(k, f, at, func(o *file) *counter { return o.checksums }) {
			return e.degrade(f, p, leaf, fmt.Sprintf("%d checksum errors in %s", f.checksums.n, f.checksums.within))
		}
	}
	return nil
}

// orNew makes a counter by the device's threshold, else by the default. What it is made with holds as long as the case is open.
func orNew(c *counter, own, other events.Threshold) *counter {
	if c != nil {
		return c
	}
	t := threshold(own, other)
	return newCounter(t.N, t.Within)
}

// threshold is the device's own, else the other.
func threshold(own, other events.Threshold) events.Threshold {
	if own.Set && own.N > 0 {
		return own
	}
	return other
}

// yields says that another device of the same vdev has errors of the kind too: what they share is to blame, a cable or controller, and taking one of them out costs
// redundancy (zfs_other_serd_cases). The case goes on with its newest error, for which the other yields as well; zed closes it, and the other is taken out.
// The errors of one that has had its consequence are no reason for ever.
func (e *Engine) yields(k key, f *file, at time.Time, kind func(*file) *counter) bool {
	for other, o := range e.cases {
		if other.pool == k.pool && other.vdev != k.vdev && o.parent == f.parent && kind(o).active() && !(o.solved && kind(o).old(at)) {
			kind(f).again()
			return true
		}
	}
	return false
}

// degrade marks a device and asks for a spare.
func (e *Engine) degrade(f *file, p pool.Pool, leaf pool.Vdev, why string) []Action {
	f.solved, f.verdict = true, why
	mark := Action{Kind: Degrade, Pool: p.Name, PoolGUID: p.GUID, Vdev: leaf.Name, VdevGUID: leaf.GUID, Why: why}
	return append([]Action{mark}, e.spare(p, leaf, why)...)
}

func notice(ev events.Event, why string) Action {
	return Action{Kind: Notice, Pool: ev.Pool, PoolGUID: ev.PoolGUID, Vdev: ev.VdevPath, VdevGUID: ev.VdevGUID, Why: why}
}

// gone says that nothing can be had from a device, and that nobody wanted that.
func gone(s pool.State) bool {
	return s == pool.Removed || s == pool.Faulted || s == pool.Unavailable
}
