package server

import (
	"context"
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
	each("cyvive_pool_device_errors", "Errors of a pool's devices since they were cleared.", func(p *poolv1.Pool) { w.devices(p.GetName(), p.GetVdevs()) })
	each("cyvive_pool_device_slow_ios", "I/Os of a pool's devices that took longer than 30 s.", func(p *poolv1.Pool) { w.slow(p.GetName(), p.GetVdevs()) })
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
