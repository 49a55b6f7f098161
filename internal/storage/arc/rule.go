package arc

const (
	// FloorBytes is the least that the module takes as a limit (MIN_ARC_MAX in module/zfs/arc.c).
	FloorBytes = 64 << 20
	// MinBytes is what the ARC keeps in any case, and the least that the module takes for that (2 << SPA_MAXBLOCKSHIFT, arc_tuning_update). It has to be set: by
	// default it is a 32nd of all memory, and a limit that is not above it is ignored without an error.
	MinBytes = 32 << 20

	baseBytes     = 256 << 20
	perThousand   = 3 // of the pools' size
	memoryPercent = 20
)

// Limits are what the module is told: zfs_arc_min and zfs_arc_max.
type Limits struct{ MinBytes, MaxBytes uint64 }

// Max is the limit for pools of a size on a machine: 256 MiB and 0.3 % of the pools, and no more than a fifth of the memory. That is what EVE OS does.
func Max(poolBytes, memoryBytes uint64) uint64 {
	return max(FloorBytes, min(baseBytes+poolBytes/1000*perThousand, memoryBytes/100*memoryPercent))
}

// LimitsFor are the limits with a maximum.
func LimitsFor(maxBytes uint64) Limits {
	return Limits{MinBytes: MinBytes, MaxBytes: max(maxBytes, FloorBytes)}
}
