package pool

import (
	"fmt"
	"slices"
	"time"
)

// absentAdvice is for a pool that is not imported, with no condition. Found says that it is on the disks.
func absentAdvice(spec PoolSpec, found bool) (summary, next string) {
	switch {
	case spec.Presence == Exported:
		return "It is not imported, as it is declared.", "Nothing. Its disks can be taken out."
	case spec.Presence == Destroyed && found:
		return "It is on the disks, and not destroyed yet.", "Wait; it is imported, so that its end can be confirmed."
	case spec.Presence == Destroyed:
		return "It is not there, as it is declared.", "Take it out of the declaration."
	}
	return "It is not imported yet.", "Wait; it is imported or created by itself."
}

// Limits beyond which a pool is slow: ZFS then looks long for free space (best fit is looked for where less than 4 % of a metaslab is free,
// metaslab_df_free_pct in module/zfs/metaslab.c).
const (
	fullPercent       = 80
	veryFullPercent   = 95
	fragmentedPercent = 70
)

// advice says how an imported pool is, and what to do next. There is a sentence for every state.
func advice(p Pool, now time.Time) (healthy bool, summary, next string) {
	bad := causes(p)
	switch {
	case p.State == Suspended:
		return false, "All I/O has stopped, since too many devices do not answer. " + bad,
			fmt.Sprintf("Bring the devices back, then clear the pool's errors: `nodectl pool clear %s`. What waits to be written is written then; a reboot before loses it.", p.Name)
	case p.DataErrors > 0:
		return false, fmt.Sprintf("%d blocks of data are lost for good. %s", p.DataErrors, bad),
			"Restore the files that are named from a snapshot, replica or backup, then scrub twice; the errors go with the second."
	case p.State == Faulted, p.State == Unavailable:
		return false, "It cannot be used: what is left of its devices is too little. " + bad, "Bring devices back. Nothing else helps; do not make it anew before they are given up."
	case p.Scan.Resilvers():
		return false, "Redundancy is being restored. " + progress(p.Scan, now), "Wait until it is done, and take no other device out until then."
	case p.State == Degraded, p.State == Online && lacks(p):
		return false, "It works, and with less redundancy than it should have. " + bad, degradedNext(p)
	case p.State != Online:
		return false, fmt.Sprintf("It is %s. %s", p.State, bad), "Bring its devices online."
	}
	return onlineAdvice(p, now)
}

// lacks says that a device with data is out of use. That does not show in the state of its pool at once: a device that fails, and is not gone, is faulty by itself, and those
// above it are looked at when one is attached or opened (spa_async_fault_vdev in module/zfs/spa.c, vdev_set_state in module/zfs/vdev.c, 2.3.9), perhaps at the next scrub.
func lacks(p Pool) bool {
	return slices.ContainsFunc(p.Leaves(), func(leaf Vdev) bool { return leaf.Class != Spare && leaf.Class != Cache && leaf.State.lost() })
}

// degradedNext says what to do about the first device that is not well.
func degradedNext(p Pool) string {
	for _, leaf := range p.Leaves() {
		switch {
		case leaf.Class == Spare || leaf.Class == Cache:
		case leaf.State == Offline:
			return fmt.Sprintf("Bring %s online, or declare another disk in its place.", leaf.Name)
		case leaf.State == Removed || leaf.State == Unavailable:
			return fmt.Sprintf("Plug the disk of %s in again; it goes on by itself. If it is broken, declare another in its place.", leaf.Name)
		case leaf.State == Faulted || leaf.State == Degraded:
			return fmt.Sprintf("Declare another disk in the place of %s. If its cable or controller was to blame, clear its errors.", leaf.Name)
		}
	}
	return "Look at the devices of the pool; the state comes from one of them, and passes when it does."
}

// cacheNext says what to do about a cache device that is out of use.
func cacheNext(p Pool, leaf Vdev) string {
	if leaf.State == Offline {
		return fmt.Sprintf("Bring it online with `nodectl pool online %s %s`, or take it out of the declaration.", p.Name, leaf.GUID)
	}
	return "Plug its disk in again: where it is declared, it is added anew by itself. If it is broken, declare another, or none."
}

// onlineAdvice is for a pool all of whose vdevs are online.
func onlineAdvice(p Pool, now time.Time) (healthy bool, summary, next string) {
	for _, leaf := range p.Leaves() {
		if n := leaf.ReadErrors + leaf.WriteErrors + leaf.ChecksumErrors; n > 0 {
			return false, fmt.Sprintf("%s had %d errors, all of which were made good from other copies.", leaf.Name, n),
				"Scrub the pool. If errors come again, declare another disk in its place; if not, clear them."
		}
		if leaf.Class == Spare && leaf.State != Available && leaf.State != InUse && leaf.State != Online {
			return false, fmt.Sprintf("Spare %s cannot be used: %s.", leaf.Name, leaf.State),
				"Plug its disk in again: where it is declared, it is added anew by itself. If it is broken, declare another spare."
		}
		if leaf.Class == Cache && leaf.State.lost() {
			return false, fmt.Sprintf("Cache device %s cannot be used: %s. No data is lost.", leaf.Name, leaf.State), cacheNext(p, leaf)
		}
	}
	slow := slowest(p)
	switch {
	case p.CapacityPercent >= veryFullPercent:
		return false, fmt.Sprintf("It is %d %% full.", p.CapacityPercent),
			"Destroy snapshots or data, or add disks, before it is full: then nothing can be written, and hardly anything deleted."
	case p.Scan.Function == Scrub && p.Scan.Errors > 0 && !p.Scan.Active():
		return false, fmt.Sprintf("The last scrub found %d errors that it could not repair.", p.Scan.Errors),
			"Restore what is lost from a snapshot, replica or backup, then scrub again."
	case slow.SlowIOs > 0 && !p.Removal.running(): // no other device is taken out while one is emptied
		return true, fmt.Sprintf("It works, and %d I/Os of %s took longer than 30 s each.", slow.SlowIOs, slow.Name),
			"Look at the disk's health (`nodectl inventory`), its cable and its controller. If more come, declare another disk in its place; if not, clear the pool's errors."
	case p.CapacityPercent >= fullPercent:
		return true, fmt.Sprintf("It is well, and %d %% full.", p.CapacityPercent), "Plan for more room; beyond 90 % it becomes slow."
	case p.ExpandableBytes > 0:
		return true, fmt.Sprintf("It is well, and its disks have %d MiB that it does not use.", p.ExpandableBytes>>20), "Nothing; it is grown by itself."
	case p.Expansion.running():
		return true, fmt.Sprintf("A disk is being worked into %s, %.0f %% done.", p.Expansion.Vdev, p.Expansion.DonePercent()),
			"Nothing. It goes on through reboots, and waits when a disk fails."
	case p.Removal.running():
		return true, fmt.Sprintf("%s is being emptied, %.0f %% done.", p.Removal.Vdev, p.Removal.DonePercent()), "Leave its disks in until that is done."
	case p.Scan.Active():
		return true, "It is well, and being scrubbed. " + progress(p.Scan, now), "Nothing."
	case p.Checkpoint != nil:
		return true, fmt.Sprintf("It is well, and has a checkpoint of %s that keeps %d MiB.", p.Checkpoint.Start.UTC().Format(time.RFC3339),
				p.Checkpoint.SpaceBytes>>20),
			"Devices cannot be changed before the checkpoint is gone; another system with ZFS discards it (zpool-checkpoint(8))."
	case p.FragmentationPercent >= fragmentedPercent:
		return true, fmt.Sprintf("It is well, and its free space is %d %% in pieces.", p.FragmentationPercent), "Free space, or add disks, if writing is slow."
	}
	return true, "It is well.", "Nothing."
}

// slowest is the device that has had the most slow I/Os; they are in its count until the errors of the pool are cleared (vdev_clear in module/zfs/vdev.c, 2.3.9), or
// the pool is imported anew. It is the zero value where none has had any.
func slowest(p Pool) (worst Vdev) {
	for _, leaf := range p.Leaves() {
		if leaf.SlowIOs > worst.SlowIOs {
			worst = leaf
		}
	}
	return worst
}

// progress says how far a scan is.
func progress(s Scan, now time.Time) string {
	text := fmt.Sprintf("%.1f %% of %d MiB done", s.DonePercent(), s.TotalBytes>>20)
	if !s.Paused.IsZero() {
		return text + ", paused."
	}
	if eta := s.ETA(now); eta > 0 {
		text += fmt.Sprintf(" at %.0f MiB/s, about %s to go", s.Rate(now)/(1<<20), eta)
	}
	return text + "."
}

// DonePercent is how far the work is, 0 to 100.
func (w Work) DonePercent() float64 {
	if w.TotalBytes == 0 {
		return 0
	}
	return min(100, 100*float64(w.DoneBytes)/float64(w.TotalBytes))
}
