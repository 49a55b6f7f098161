package diagnose

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/pool/events"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Config are the engine's numbers. Zero fields have the defaults of cmd/zed/agents/zfs_diagnosis.c.
type Config struct {
	// Checksums and IOs are how many errors in what time make a device faulty; a device's own properties go before.
	Checksums, IOs events.Threshold
	// RemovalWait is how long after errors of I/O a removal may be told, which explains them.
	RemovalWait time.Duration
	// Keep is how long a case is kept without a new error.
	Keep time.Duration
	// SpareAfter is how long a device may be gone, without an event that says so, before a spare stands in for it.
	SpareAfter time.Duration
	// ReleaseAfter is how long a device has to be well, and nothing resilvers, before its spare is let go. The kernel begins to resilver some transaction groups behind
	// the one in which a device is brought back (dsl_scan_assess_vdev and dsl_scan_restart_resilver in module/zfs/dsl_scan.c), and refuses to detach a spare only where no
	// other device of the mirror or RAIDZ has what it holds (vdev_dtl_required in module/zfs/vdev.c).
	ReleaseAfter time.Duration
}

func (c Config) withDefaults() Config {
	if c.Checksums.N == 0 {
		c.Checksums = events.Threshold{N: 10, Within: 600 * time.Second} // DEFAULT_CHECKSUM_N, _T
	}
	if c.IOs.N == 0 {
		c.IOs = events.Threshold{N: 10, Within: 600 * time.Second} // DEFAULT_IO_N, _T
	}
	c.RemovalWait = cmp.Or(c.RemovalWait, 15*time.Second) // zfs_remove_timeout
	c.Keep = cmp.Or(c.Keep, 12*time.Hour)                 // CASE_GC_TIMEOUT_SECS
	c.SpareAfter = cmp.Or(c.SpareAfter, 5*time.Minute)
	c.ReleaseAfter = cmp.Or(c.ReleaseAfter, time.Minute)
	return c
}

// key is a device of a pool.
type key struct{ pool, vdev zfs.GUID }

// file is a device's case.
type file struct {
	parent               zfs.GUID
	last                 time.Time
	checksums, ios, slow *counter
	// due is when an error of I/O becomes a fault; zero if none is pending.
	due time.Time
	// solved says that the case has had its consequence; verdict is that of a mark.
	solved  bool
	verdict string
}

// Engine is the machine. It is not safe for concurrent use.
type Engine struct {
	cfg   Config
	cases map[key]*file
	// gone is since when a device has been seen gone; acted are those for which a spare was asked, until they are seen otherwise.
	gone  map[key]time.Time
	acted map[key]bool
	// well is since when a device for which a spare stands in has been seen well, and nothing resilvering.
	well map[key]time.Time
	// left are the actions that were not carried out, with when that was told.
	left map[leaving]time.Time
	// looked is when Look was called last.
	looked time.Time
	// since is when this began, by the clock of events.
	since time.Time
}

// leaving is an action that is not carried out.
type leaving struct {
	kind Kind
	on   key
	why  string
}

// maxCases bounds the devices that are watched. A machine has fewer; events may lie.
const maxCases = 4096

// New returns an engine that knows nothing.
func New(c Config) *Engine {
	return &Engine{cfg: c.withDefaults(), cases: map[key]*file{}, gone: map[key]time.Time{}, acted: map[key]bool{}, well: map[key]time.Time{}, left: map[leaving]time.Time{}}
}

// Mark is a device that answers and is not to be trusted.
type Mark struct {
	Pool, Vdev zfs.GUID
	Why        string
}

// Marks are the devices with too many errors, in order.
func (e *Engine) Marks() []Mark {
	var out []Mark
	for k, f := range e.cases {
		if f.verdict != "" {
			out = append(out, Mark{k.pool, k.vdev, f.verdict})
		}
	}
	slices.SortFunc(out, func(a, b Mark) int { return cmp.Or(cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Vdev, b.Vdev)) })
	return out
}

// Next is when Look has something to do, if no event comes before; zero if nothing is pending. What was due when Look was called last, and could not be done, such as for
// want of a spare, is not: that waits for an event.
func (e *Engine) Next() time.Time {
	var next time.Time
	earlier := func(t time.Time) {
		if t.After(e.looked) && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for _, f := range e.cases {
		if !f.due.IsZero() {
			earlier(f.due)
		}
	}
	for k, since := range e.gone {
		if !e.acted[k] {
			earlier(since.Add(e.cfg.SpareAfter))
		}
	}
	for _, since := range e.well {
		earlier(since.Add(e.cfg.ReleaseAfter))
	}
	return next
}

// drop closes the cases for which which is true.
func (e *Engine) drop(which func(key, *file) bool) {
	for k, f := range e.cases {
		if which(k, f) {
			delete(e.cases, k)
			delete(e.acted, k)
		}
	}
}

// begin notes when the engine was first called. A clock that was set back since then does not make all that happens too old: what is set back is this as well.
func (e *Engine) begin(now time.Time) {
	if wall := now.Round(0); e.since.IsZero() || wall.Before(e.since) {
		e.since = wall
	}
}

// Event takes an event. Pools is the state of the pools after it.
func (e *Engine) Event(ev events.Event, pools []pool.Pool, now time.Time) []Action {
	e.begin(now)
	k := key{ev.PoolGUID, ev.VdevGUID}
	switch ev.Class {
	case events.PoolImport, events.PoolCreate, events.PoolExport, events.PoolDestroy:
		// What was reported before belongs to a life of the pool that is over.
		e.drop(func(c key, _ *file) bool { return c.pool == ev.PoolGUID })
		maps.DeleteFunc(e.gone, func(c key, _ time.Time) bool { return c.pool == ev.PoolGUID })
		maps.DeleteFunc(e.acted, func(c key, _ bool) bool { return c.pool == ev.PoolGUID })
		maps.DeleteFunc(e.well, func(c key, _ time.Time) bool { return c.pool == ev.PoolGUID })
		return nil
	case events.VdevClear:
		e.drop(func(c key, _ *file) bool { return c.pool == ev.PoolGUID && (ev.VdevGUID == 0 || c.vdev == ev.VdevGUID) })
		return nil
	case events.VdevRemove:
		e.drop(func(c key, _ *file) bool { return c == k })
		return e.look(pools, now, ev.Time)
	case events.AutoReplace:
		e.drop(func(c key, _ *file) bool { return c.pool == ev.PoolGUID && (ev.VdevGUID == 0 || c == k) })
		return nil
	case events.ResilverFinish, events.Dropped, events.ConfigSync:
		return e.look(pools, now, ev.Time)
	case events.Removed, events.StateChange:
		return e.resource(ev, pools, now)
	}
	return e.report(ev, pools, now)
}

// resource takes what is told of a device itself (zfs_retire_recv).
func (e *Engine) resource(ev events.Event, pools []pool.Pool, now time.Time) []Action {
	k := key{ev.PoolGUID, ev.VdevGUID}
	delete(e.well, k) // it may have been gone since it was seen well
	state := ev.VdevState
	if ev.Class == events.Removed {
		state = pool.Removed
		if f := e.cases[k]; f != nil { // its errors were those of being pulled
			f.due = time.Time{}
			f.ios.reset()
			f.checksums.reset()
			f.slow.reset()
		}
	}
	switch state {
	case pool.Online:
		e.drop(func(c key, _ *file) bool { return c == k })
		delete(e.gone, k)
		delete(e.acted, k)
		return e.look(pools, now, ev.Time)
	case pool.Removed, pool.Faulted:
		p, leaf, found := find(pools, k)
		if !found || leaf.State != pool.Removed && leaf.State != pool.Faulted {
			return nil // not so any more, or a person has taken it offline
		}
		return e.spare(p, leaf, fmt.Sprintf("it is %s", leaf.State))
	}
	return nil
}

// find returns a device of a pool.
func find(pools []pool.Pool, k key) (pool.Pool, pool.Vdev, bool) {
	for _, p := range pools {
		if p.GUID != k.pool {
			continue
		}
		for _, leaf := range p.Leaves() {
			if leaf.GUID == k.vdev && leaf.Class != pool.Spare {
				return p, leaf, true
			}
		}
	}
	return pool.Pool{}, pool.Vdev{}, false
}
