package zpool

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// filesOption has the names of files with errors listed.
const filesOption = "-v"

// statusOptions: exact numbers (-p), whole paths (-P), slow I/Os (-s), trims (-t), initializing (-i), and files with errors (-v).
func statusOptions() []string {
	return []string{"status", "-j", "--json-int", "-p", "-P", "-s", "-t", "-i", filesOption}
}

func getOptions() []string { return []string{"get", "-j", "--json-int", "-p", "all"} }

// Pools implements pool.Pools. A pool that is exported between the commands that it takes is left out.
func (z *Zpool) Pools(ctx context.Context) ([]pool.Pool, error) {
	properties, err := z.properties(ctx)
	if err != nil {
		return nil, err
	}
	if len(properties) == 0 {
		return nil, nil
	}
	pools, err := z.status(ctx)
	if err != nil {
		return nil, err
	}
	var both []pool.Pool
	for _, p := range pools {
		if props, found := properties[p.GUID]; found {
			setProperties(&p, props)
			both = append(both, p)
		}
	}
	slices.SortFunc(both, func(a, b pool.Pool) int { return strings.Compare(a.Name, b.Name) })
	return both, nil
}

// statusPool is what status_callback_json prints.
type statusPool struct {
	Name       string      `json:"name"`
	State      string      `json:"state"`
	GUID       number      `json:"pool_guid"`
	Status     string      `json:"status"`
	MessageID  string      `json:"msgid"`
	ErrorCount number      `json:"error_count"`
	ErrorList  any         `json:"errlist"`
	Scan       scan        `json:"scan_stats"`
	Removal    *work       `json:"removal_stats"`
	Expansion  *work       `json:"raidz_expand_stats"`
	Checkpoint *checkpoint `json:"checkpoint_stats"`
	Vdevs      named[vdev] `json:"vdevs"`
	Dedup      named[vdev] `json:"dedup"`
	Special    named[vdev] `json:"special"`
	Logs       named[vdev] `json:"logs"`
	Cache      named[vdev] `json:"l2cache"`
	Spares     named[vdev] `json:"spares"`
}

// maxErrors bounds the files with errors that are kept: a pool may have a hundred thousand.
const maxErrors = 100

// parseStatus reads zpool status -j.
func parseStatus(data []byte) ([]pool.Pool, error) {
	var doc struct {
		Pools named[statusPool] `json:"pools"`
	}
	if err := decode(data, "status", &doc); err != nil {
		return nil, err
	}
	var out []pool.Pool
	for _, e := range doc.Pools {
		s := e.value
		if s.Name == "" {
			return nil, fmt.Errorf("read the output of zpool status: pool %.80q has no name", e.name)
		}
		p := pool.Pool{
			Name: s.Name, GUID: zfs.GUID(s.GUID), State: pool.State(s.State), CapacityPercent: -1, FragmentationPercent: -1,
			MessageID: s.MessageID, Words: sentence(s.Status), DataErrors: uint64(s.ErrorCount), Scan: s.Scan.typed(),
			Expansion: s.Expansion.typed(), Removal: s.Removal.typed(), Checkpoint: s.Checkpoint.typed(),
		}
		if list, ok := s.ErrorList.([]any); ok {
			for _, file := range list[:min(len(list), maxErrors)] {
				p.Errors = append(p.Errors, fmt.Sprint(file))
			}
		}
		// The root is there under the pool's name, and its children are the vdevs for data.
		for _, root := range s.Vdevs {
			p.Vdevs = append(p.Vdevs, tree(root.value.Children, pool.Normal)...)
		}
		for _, c := range []struct {
			class pool.Class
			vdevs named[vdev]
		}{{pool.Special, s.Special}, {pool.Dedup, s.Dedup}, {pool.Log, s.Logs}, {pool.Cache, s.Cache}, {pool.Spare, s.Spares}} {
			p.Vdevs = append(p.Vdevs, tree(c.vdevs, c.class)...)
		}
		p.Scan = withRebuilds(p.Scan, s.Scan.Rebuilds)
		out = append(out, p)
	}
	return out, nil
}

// sentence takes the line breaks out of a text of zpool's.
func sentence(text string) string { return strings.Join(strings.Fields(text), " ") }

// scan is what scan_status_nvlist prints.
type scan struct {
	Function    string         `json:"function"`
	State       string         `json:"state"`
	Start       number         `json:"start_time"`
	End         number         `json:"end_time"`
	ToExamine   number         `json:"to_examine"`
	Examined    number         `json:"examined"`
	Skipped     number         `json:"skipped"`
	Processed   number         `json:"processed"`
	Errors      number         `json:"errors"`
	PassStart   number         `json:"pass_start"`
	Pause       number         `json:"scrub_pause"`
	SpentPaused number         `json:"scrub_spent_paused"`
	PassIssued  number         `json:"issued_bytes_per_scan"`
	Issued      number         `json:"issued"`
	Rebuilds    named[rebuild] `json:"rebuild_stats"`
}

// progress maps pool_scan_state_str, vdev_rebuild_state_str, vdev_trim_state_str and vdev_init_state_str of zpool_main.c.
func progress(state string) pool.Progress {
	switch state {
	case "SCANNING", "ERRORSCRUBBING", "ACTIVE":
		return pool.Running
	case "FINISHED", "COMPLETE":
		return pool.Finished
	case "CANCELED":
		return pool.Canceled
	case "SUSPENDED":
		return pool.Halted
	}
	return pool.None
}

func (s scan) typed() pool.Scan {
	out := pool.Scan{
		Function: pool.Function(s.Function), Progress: progress(s.State), Start: s.Start.time(), End: s.End.time(), Paused: s.Pause.time(),
		// What need not be read is counted to what there is, and taken off in print_scan_scrub_resilver_status.
		TotalBytes:   uint64(s.ToExamine - min(s.Skipped, s.ToExamine)),
		ScannedBytes: uint64(s.Examined), IssuedBytes: uint64(s.Issued), RepairedBytes: uint64(s.Processed), Errors: uint64(s.Errors),
		PassStart: s.PassStart.time(), PassIssuedBytes: uint64(s.PassIssued), PassPaused: time.Duration(min(s.SpentPaused, 1<<32)) * time.Second,
	}
	if out.Progress == pool.Running {
		out.End = time.Time{}
	}
	return out
}
