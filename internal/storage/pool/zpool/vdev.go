package zpool

import (
	"time"

	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// vdev is what vdev_stats_nvlist and fill_vdev_info print.
type vdev struct {
	Name             string      `json:"name"`
	Type             string      `json:"vdev_type"`
	GUID             number      `json:"guid"`
	Path             string      `json:"path"`
	PhysicalPath     string      `json:"phys_path"`
	DevID            string      `json:"devid"`
	State            string      `json:"state"`
	Aux              string      `json:"aux"`
	Was              string      `json:"was"`
	UsedBy           string      `json:"used_by"`
	Allocated        number      `json:"alloc_space"`
	Total            number      `json:"total_space"`
	Expandable       number      `json:"ex_dev_size"`
	ReadErrors       number      `json:"read_errors"`
	WriteErrors      number      `json:"write_errors"`
	ChecksumErrors   number      `json:"checksum_errors"`
	SlowIOs          number      `json:"slow_ios"`
	Processed        number      `json:"scan_processed"`
	Deferred         number      `json:"resilver_deferred"`
	ConfiguredAshift number      `json:"configured_ashift"`
	PhysicalAshift   number      `json:"physical_ashift"`
	TrimState        string      `json:"trim_state"`
	Trimmed          number      `json:"trimmed"`
	ToTrim           number      `json:"to_trim"`
	TrimTime         number      `json:"trim_time"`
	TrimUnsupported  number      `json:"trim_notsup"`
	InitState        string      `json:"init_state"`
	Initialized      number      `json:"initialized"`
	ToInitialize     number      `json:"to_initialize"`
	InitTime         number      `json:"init_time"`
	Children         named[vdev] `json:"vdevs"`
}

// tree turns vdevs and all below into those of package pool.
func tree(vdevs named[vdev], class pool.Class) []pool.Vdev {
	var out []pool.Vdev
	for _, e := range vdevs {
		out = append(out, e.value.typed(e.name, class))
	}
	return out
}

func (v vdev) typed(key string, class pool.Class) pool.Vdev {
	out := pool.Vdev{
		Name: v.Name, Type: v.Type, Class: class, GUID: zfs.GUID(v.GUID), Path: v.Path, DevID: v.DevID, PhysicalPath: v.PhysicalPath,
		State: vdevState(v.State, v.Aux), Reason: v.Aux, UsedBy: v.UsedBy, ReadErrors: uint64(v.ReadErrors), WriteErrors: uint64(v.WriteErrors),
		ChecksumErrors: uint64(v.ChecksumErrors), SlowIOs: uint64(v.SlowIOs), SizeBytes: uint64(v.Total), AllocatedBytes: uint64(v.Allocated),
		ExpandableBytes: uint64(v.Expandable), RepairedBytes: uint64(v.Processed), Waiting: v.Deferred != 0,
		ConfiguredShift: int(v.ConfiguredAshift & 63), PhysicalShift: int(v.PhysicalAshift & 63), TrimUnsupported: v.TrimUnsupported != 0,
		Trim:       leafWork(v.TrimState, v.TrimTime, v.Trimmed, v.ToTrim),
		Initialize: leafWork(v.InitState, v.InitTime, v.Initialized, v.ToInitialize),
		Children:   tree(v.Children, class),
	}
	if out.Name == "" {
		out.Name = key
	}
	if out.Path == "" {
		out.Path = v.Was
	}
	if out.Name == out.GUID.String() && v.Path != "" && v.Was == "" {
		out.Name = v.Path // as it is called where vdevs are not named by their GUIDs; of one that is gone the GUID stays
	}
	if v.Was != "" && out.Reason == "" {
		out.Reason = "OPEN_FAILED" // of one that was not there at import, which has no reason of its own
	}
	return out
}

// vdevState maps vdev_state_str of zpool_main.c to the names that zpool_state_to_name of lib/libzfs/libzfs_pool.c has for a person.
func vdevState(state, aux string) pool.State {
	switch state {
	case "CLOSED":
		return pool.Offline
	case "CANT_OPEN":
		if aux == "CORRUPT_DATA" || aux == "BAD_LOG" {
			return pool.Faulted
		}
		return pool.Unavailable
	}
	return pool.State(state)
}

// leafWork is a trim or the initializing of a device. The time is that of the last change of its state.
func leafWork(state string, at, done, total number) pool.Work {
	out := pool.Work{Progress: progress(state), DoneBytes: uint64(done), TotalBytes: uint64(total)}
	if out.Progress == pool.Running {
		out.Start = at.time()
	} else {
		out.End = at.time()
	}
	return out
}

// work is what removal_status_nvlist and raidz_expand_status_nvlist print.
type work struct {
	Name     string `json:"name"`
	State    string `json:"state"`
	Start    number `json:"start_time"`
	End      number `json:"end_time"`
	ToCopy   number `json:"to_copy"`
	Copied   number `json:"copied"`
	ToReflow number `json:"to_reflow"`
	Reflowed number `json:"reflowed"`
	Waiting  number `json:"waiting_for_resilver"`
}

func (w *work) typed() *pool.Work {
	if w == nil || progress(w.State) == pool.None {
		return nil
	}
	return &pool.Work{
		Progress: progress(w.State), Vdev: w.Name, Start: w.Start.time(), End: w.End.time(), DoneBytes: uint64(w.Copied + w.Reflowed),
		TotalBytes: uint64(w.ToCopy + w.ToReflow), Waits: w.Waiting != 0,
	}
}

// checkpoint is what checkpoint_status_nvlist prints. Its state is EXISTS or DISCARDING (checkpoint_state_str).
type checkpoint struct {
	State string `json:"state"`
	Start number `json:"start_time"`
	Space number `json:"space"`
}

func (c *checkpoint) typed() *pool.Checkpoint {
	if c == nil || c.State == "NONE" {
		return nil
	}
	return &pool.Checkpoint{Start: c.Start.time(), SpaceBytes: uint64(c.Space), Discarding: c.State == "DISCARDING"}
}

// rebuild is a sequential resilver of one vdev.
type rebuild struct {
	State   string `json:"state"`
	Start   number `json:"start_time"`
	End     number `json:"end_time"`
	Scanned number `json:"scanned"`
	Issued  number `json:"issued"`
	Rebuilt number `json:"rebuilt"`
	ToScan  number `json:"to_scan"`
	Errors  number `json:"errors"`
}

// withRebuilds puts a rebuild that goes on, or ended last, in the place of a scan that does not.
func withRebuilds(s pool.Scan, rebuilds named[rebuild]) pool.Scan {
	for _, e := range rebuilds {
		r := e.value
		end := r.End.time()
		if s.Active() || progress(r.State) != pool.Running && !end.After(s.End) {
			continue
		}
		s = pool.Scan{
			Function: pool.Rebuild, Progress: progress(r.State), Start: r.Start.time(), End: end, TotalBytes: uint64(r.ToScan),
			ScannedBytes: uint64(r.Scanned), IssuedBytes: uint64(r.Issued), RepairedBytes: uint64(r.Rebuilt), Errors: uint64(r.Errors),
			PassStart: r.Start.time(), PassIssuedBytes: uint64(r.Issued),
		}
		if s.Progress == pool.Running {
			s.End = time.Time{}
		}
	}
	return s
}
