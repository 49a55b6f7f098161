package server

import (
	"context"
	"strings"
	"time"

	poolv1 "github.com/cyvive/cyvive/api/proto/pool/v1"
)

// poolMetricsTimeout is how long a look at the pools may keep all other metrics.
const poolMetricsTimeout = 2 * time.Second

// pools writes how the pools are. A node without OpenZFS has none of it, and one that
// cannot tell now leaves it out.
func (w *exposition) pools(ctx context.Context, pools Pools) {
	if pools == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, poolMetricsTimeout)
	defer cancel()
	list, err := pools.List(ctx)
	if err != nil {
		return
	}
	w.family("cyvive_pool_healthy", "gauge", "1 where a pool has full redundancy and no error.")
	for _, p := range list.GetPools() {
		w.sample(flag(p.GetHealthy()), "pool", p.GetName())
	}
	w.family("cyvive_pool_imported", "gauge", "1 where a pool is imported.")
	for _, p := range list.GetPools() {
		w.sample(flag(p.GetImported()), "pool", p.GetName())
	}
	w.family("cyvive_pool_waiting", "gauge", "Operations that wait for a confirmation, and conditions that a person has to resolve.")
	for _, p := range list.GetPools() {
		w.sample(float64(len(p.GetWaiting())+len(p.GetConditions())), "pool", p.GetName())
	}
	w.imported(list.GetPools())
	cache, err := pools.Cache(ctx)
	if err != nil {
		return
	}
	w.family("cyvive_arc_bytes", "gauge", "Memory in which ZFS keeps what was read.")
	w.sample(float64(cache.GetSizeBytes()), "kind", "size")
	w.sample(float64(cache.GetMaxBytes()), "kind", "limit")
	w.sample(float64(cache.GetEvictableBytes()), "kind", "evictable")
	w.family("cyvive_arc_reads_total", "counter", "Reads that were served from it, or not, since the boot.")
	w.sample(float64(cache.GetHits()), "kind", "hit")
	w.sample(float64(cache.GetMisses()), "kind", "miss")
}

// imported writes what only pools have that are imported.
func (w *exposition) imported(list []*poolv1.Pool) {
	each := func(name, help string, write func(p *poolv1.Pool)) {
		w.family(name, "gauge", help)
		for _, p := range list {
			if p.GetImported() {
				write(p)
			}
		}
	}
	each("cyvive_pool_bytes", "Size of a pool, redundancy included.", func(p *poolv1.Pool) {
		w.sample(float64(p.GetSizeBytes()), "pool", p.GetName(), "kind", "size")
		w.sample(float64(p.GetAllocatedBytes()), "pool", p.GetName(), "kind", "allocated")
		w.sample(float64(p.GetFreeBytes()), "pool", p.GetName(), "kind", "free")
	})
	each("cyvive_pool_fragmentation_percent", "How much of a pool's free space is in pieces.", func(p *poolv1.Pool) {
		if p.FragmentationPercent != nil {
			w.sample(float64(p.GetFragmentationPercent()), "pool", p.GetName())
		}
	})
	each("cyvive_pool_data_errors", "Blocks whose data is lost.", func(p *poolv1.Pool) { w.sample(float64(p.GetDataErrors()), "pool", p.GetName()) })
	each("cyvive_pool_scan_bytes", "A scrub or resilver that goes on.", func(p *poolv1.Pool) {
		if s := p.GetScan(); s.GetProgress() == poolv1.Progress_PROGRESS_RUNNING {
			w.sample(float64(s.GetDoneBytes()), "pool", p.GetName(), "kind", "done")
			w.sample(float64(s.GetTotalBytes()), "pool", p.GetName(), "kind", "total")
		}
	})
	scan := func(p *poolv1.Pool) []string {
		return []string{"pool", p.GetName(), "function", word(p.GetScan().GetFunction().String(), "FUNCTION_")}
	}
	each("cyvive_pool_scan_ended_timestamp_seconds", "When the last scrub or resilver ended.", func(p *poolv1.Pool) {
		s := p.GetScan()
		if ended := s.GetProgress(); ended == poolv1.Progress_PROGRESS_FINISHED || ended == poolv1.Progress_PROGRESS_CANCELED {
			w.sample(float64(s.GetEndedAt().GetSeconds()), append(scan(p), "outcome", word(ended.String(), "PROGRESS_"))...)
		}
	})
	each("cyvive_pool_scan_remaining_seconds", "About how long a scrub or resilver that goes on takes yet.", func(p *poolv1.Pool) {
		if s := p.GetScan(); s.GetProgress() == poolv1.Progress_PROGRESS_RUNNING && s.GetRemaining() != nil {
			w.sample(seconds(s.GetRemaining()), scan(p)...)
		}
	})
	each("cyvive_pool_scan_errors", "Errors that the scrub or resilver that goes on, or the last one, could not repair.", func(p *poolv1.Pool) {
		if p.GetScan() != nil {
			w.sample(float64(p.GetScan().GetErrors()), scan(p)...)
		}
	})
	each("cyvive_pool_scan_repaired_bytes", "What the scrub or resilver that goes on, or the last one, has repaired.", func(p *poolv1.Pool) {
		if p.GetScan() != nil {
			w.sample(float64(p.GetScan().GetRepairedBytes()), scan(p)...)
		}
	})
	each("cyvive_pool_device_errors", "Errors of a pool's devices since they were cleared.", func(p *poolv1.Pool) { w.devices(p.GetName(), p.GetVdevs()) })
	each("cyvive_pool_device_slow_ios", "I/Os of a pool's devices that took longer than 30 s.", func(p *poolv1.Pool) { w.slow(p.GetName(), p.GetVdevs()) })
}

// word is the name of an enumeration's value as a label.
func word(name, prefix string) string { return strings.ToLower(strings.TrimPrefix(name, prefix)) }

// datasets writes how full the declared datasets are, as the node has seen them last: that
// takes no look at any pool, and there are as many as documents.
func (w *exposition) datasets(ctx context.Context, datasets Datasets) {
	if datasets == nil {
		return
	}
	list, err := datasets.Declared(ctx)
	if err != nil || len(list) == 0 {
		return
	}
	w.family("cyvive_dataset_bytes", "gauge", "What a declared dataset takes and may take yet, and its limits.")
	for _, d := range list {
		for _, one := range []struct {
			kind   string
			bytes  uint64
			always bool
		}{
			{"used", d.GetUsedBytes(), true}, {"available", d.GetAvailableBytes(), true}, {"referenced", d.GetReferencedBytes(), true},
			{"quota", d.GetQuotaBytes(), false}, {"refquota", d.GetRefquotaBytes(), false}, {"size", d.GetVolumeBytes(), false},
		} {
			if one.always || one.bytes > 0 {
				w.sample(float64(one.bytes), "dataset", d.GetName(), "kind", one.kind)
			}
		}
	}
}

func (w *exposition) devices(pool string, list []*poolv1.Vdev) {
	for _, v := range list {
		if len(v.GetChildren()) == 0 {
			w.sample(float64(v.GetReadErrors()), "pool", pool, "device", v.GetName(), "kind", "read")
			w.sample(float64(v.GetWriteErrors()), "pool", pool, "device", v.GetName(), "kind", "write")
			w.sample(float64(v.GetChecksumErrors()), "pool", pool, "device", v.GetName(), "kind", "checksum")
		}
		w.devices(pool, v.GetChildren())
	}
}

func (w *exposition) slow(pool string, list []*poolv1.Vdev) {
	for _, v := range list {
		if len(v.GetChildren()) == 0 {
			w.sample(float64(v.GetSlowIos()), "pool", pool, "device", v.GetName())
		}
		w.slow(pool, v.GetChildren())
	}
}
