package events

import (
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Class is the kind of an event, as include/sys/fm/fs/zfs.h and include/sys/sysevent/eventdefs.h name it.
type Class string

// The classes that others ask for (zpool-events(8)).
const (
	Checksum     Class = "ereport.fs.zfs.checksum"
	IO           Class = "ereport.fs.zfs.io"
	Data         Class = "ereport.fs.zfs.data"
	Delay        Class = "ereport.fs.zfs.delay"
	Deadman      Class = "ereport.fs.zfs.deadman"
	IOFailure    Class = "ereport.fs.zfs.io_failure"
	ProbeFailure Class = "ereport.fs.zfs.probe_failure"
	LogReplay    Class = "ereport.fs.zfs.log_replay"
	PoolFailure  Class = "ereport.fs.zfs.zpool"
	// Device is what the classes of devices that do not open begin with: open_failed, corrupt_data, no_replicas and so on.
	Device Class = "ereport.fs.zfs.vdev."

	Removed     Class = "resource.fs.zfs.removed"
	StateChange Class = "resource.fs.zfs.statechange"
	AutoReplace Class = "resource.fs.zfs.autoreplace"

	PoolImport     Class = "sysevent.fs.zfs.pool_import"
	PoolCreate     Class = "sysevent.fs.zfs.pool_create"
	PoolExport     Class = "sysevent.fs.zfs.pool_export"
	PoolDestroy    Class = "sysevent.fs.zfs.pool_destroy"
	ConfigSync     Class = "sysevent.fs.zfs.config_sync"
	VdevRemove     Class = "sysevent.fs.zfs.vdev_remove"
	VdevClear      Class = "sysevent.fs.zfs.vdev_clear"
	ResilverStart  Class = "sysevent.fs.zfs.resilver_start"
	ResilverFinish Class = "sysevent.fs.zfs.resilver_finish"
	ScrubStart     Class = "sysevent.fs.zfs.scrub_start"
	ScrubFinish    Class = "sysevent.fs.zfs.scrub_finish"
	// History is of each dataset and snapshot that is made, changed or destroyed (spa_history_log_sync in module/zfs/spa_history.c): of a pool itself it tells nothing.
	History Class = "sysevent.fs.zfs.history_event"

	// Dropped is no event of the kernel: it says that Lost events were never read.
	Dropped Class = "dropped"
)

// Event is one event. Fields that it does not have are zero.
type Event struct {
	Class Class
	// EID numbers events since the module was loaded, from 1.
	EID  uint64
	Time time.Time
	// Lost is how many events were dropped before this one.
	Lost uint64

	Pool                           string
	PoolGUID, VdevGUID, ParentGUID zfs.GUID
	// VdevType is disk, file, mirror and so on.
	VdevType, VdevPath string
	// VdevState is what it is in now, LastState what it was in.
	VdevState, LastState pool.State
	// Context is what the pool is doing: LoadNone while it runs.
	Context  Load
	FailMode string

	ReadErrors, WriteErrors, ChecksumErrors uint64
	// Flags and Priority are those of the I/O (zio_flags, zio_priority). IODelay is how long the device took.
	Flags    uint64
	Priority uint32
	IODelay  time.Duration
	// Thresholds are the device's own, which vdevprops(7) sets.
	Checksums, IOs, SlowIOs Threshold
	// ByKernel says that the kernel has seen the device go.
	ByKernel bool
	// Fields is all of the payload as it was printed, with that of embedded lists under their names and a dot.
	Fields map[string]string
}

// Threshold is N events in a time. Set says that both were given.
type Threshold struct {
	N      uint64
	Within time.Duration
	Set    bool
}

// Load is spa_load_state_t of include/sys/fs/zfs.h.
type Load int

// The states of a pool that is being opened.
const (
	LoadNone Load = iota
	LoadOpen
	LoadImport
	LoadTryImport
	LoadRecover
	LoadError
	LoadCreate
)

// Values of include/sys/zio.h and include/sys/fs/zfs.h in 2.3.9.
const (
	flagResilver    = 1 << 3 // ZIO_FLAG_RESILVER
	flagScrub       = 1 << 4 // ZIO_FLAG_SCRUB
	priorityScrub   = 4      // ZIO_PRIORITY_SCRUB
	priorityRebuild = 8      // ZIO_PRIORITY_REBUILD
)

// OfScan says that the I/O was one of a scrub or resilver.
func (e Event) OfScan() bool {
	return e.Flags&(flagScrub|flagResilver) != 0 || e.Priority == priorityScrub || e.Priority == priorityRebuild
}

// IsDevice says that a device could not be opened.
func (e Event) IsDevice() bool { return strings.HasPrefix(string(e.Class), string(Device)) }

// fill fills in the typed fields from Fields.
func (e *Event) fill() {
	e.EID = e.number("eid")
	e.Pool = e.text("pool")
	e.PoolGUID, e.VdevGUID, e.ParentGUID = zfs.GUID(e.number("pool_guid")), zfs.GUID(e.number("vdev_guid")), zfs.GUID(e.number("parent_guid"))
	e.VdevType, e.VdevPath, e.FailMode = e.text("vdev_type"), e.text("vdev_path"), e.text("pool_failmode")
	e.VdevState, e.LastState = pool.State(e.text("vdev_state")), pool.State(e.text("vdev_laststate"))
	e.Context = Load(min(e.number("pool_context"), 255))
	e.ReadErrors, e.WriteErrors, e.ChecksumErrors = e.number("vdev_read_errors"), e.number("vdev_write_errors"), e.number("vdev_cksum_errors")
	e.Flags, e.Priority = e.number("zio_flags"), uint32(min(e.number("zio_priority"), 1<<31))
	e.IODelay = time.Duration(min(e.number("zio_delay"), 1<<62))
	e.Checksums, e.IOs, e.SlowIOs = e.threshold("vdev_cksum"), e.threshold("vdev_io"), e.threshold("vdev_slow_io")
	_, e.ByKernel = e.Fields["by_kernel"]
	if at := e.numbers("time"); len(at) == 2 && at[0] < 1<<40 && at[1] < 1e9 {
		e.Time = time.Unix(int64(at[0]), int64(at[1])).UTC()
	}
}

func (e *Event) threshold(name string) Threshold {
	_, n := e.Fields[name+"_n"]
	_, t := e.Fields[name+"_t"]
	return Threshold{N: e.number(name + "_n"), Within: time.Duration(min(e.number(name+"_t"), 1<<32)) * time.Second, Set: n && t}
}
