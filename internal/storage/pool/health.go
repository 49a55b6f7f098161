package pool

import (
	"fmt"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// running says that work goes on.
func (w *Work) running() bool { return w != nil && w.Progress == Running }

// LastScrub is when the pool's data was last read through: the end of a scrub or, as ZFS keeps one result only, of a resilver after it. One that was stopped counts:
// whoever stopped it does not want it to begin again at once.
func (p Pool) LastScrub() time.Time {
	switch p.Scan.Function {
	case Scrub, Resilver:
		return p.Scan.End
	}
	return time.Time{}
}

// aheadMost is how far from now a time may be yet to come that ZFS says something was done at. A clock is set back by less in its daily life.
const aheadMost = 24 * time.Hour

// believed is when something was done last, or zero if that is further ahead: it was done under a clock that was wrong, and waiting until it is past could take years.
func believed(last, now time.Time) time.Time {
	if last.Sub(now) > aheadMost {
		return time.Time{}
	}
	return last
}

// monthly is due 28 to 31 days after the last time, by the GUID of the pool: on nodes that were made at once, and share storage, not at once.
type monthly zfs.GUID

// Due implements Schedule.
func (m monthly) Due(last, now time.Time) bool {
	return now.Sub(last) >= 28*24*time.Hour+time.Duration(m%72)*time.Hour
}

// lastTrim is the time of the trim that is longest ago of all devices that can be trimmed, whether one goes on, and whether there are such devices at all.
func (p Pool) lastTrim() (last time.Time, running, able bool) {
	for _, leaf := range p.Leaves() {
		if leaf.Class == Spare || leaf.State.lost() || leaf.TrimUnsupported {
			continue
		}
		if leaf.Trim.Progress == Running || leaf.Trim.Progress == Halted {
			running = true
		}
		if !able || leaf.Trim.End.Before(last) {
			last = leaf.Trim.End
		}
		able = true
	}
	return last, running, able
}

// reasons are what vdev_aux_str of cmd/zpool/zpool_main.c stands for, in words.
func reasons() map[string]string {
	return map[string]string{
		"OPEN_FAILED":      "it cannot be opened",
		"CORRUPT_DATA":     "what is on it cannot be read",
		"NO_REPLICAS":      "too few of its devices are left",
		"BAD_GUID_SUM":     "a device is missing",
		"TOO_SMALL":        "it is smaller than it was",
		"BAD_LABEL":        "it has no label of this pool",
		"VERSION_NEWER":    "it is of a newer version",
		"VERSION_OLDER":    "it is of an older version",
		"UNSUP_FEAT":       "it has features that this system does not know",
		"SPARED":           "it is in use as a spare",
		"ERR_EXCEEDED":     "it had too many errors",
		"IO_FAILURE":       "it had errors of I/O",
		"BAD_LOG":          "its log cannot be read",
		"EXTERNAL":         "it was taken out as faulty",
		"SPLIT_POOL":       "it was split off into a pool of its own",
		"BAD_ASHIFT":       "its sectors are larger than they were",
		"EXTERNAL_PERSIST": "it was taken out as faulty, for good",
		"ACTIVE":           "another system uses it",
		"CHILDREN_OFFLINE": "all of its devices are offline",
		"ASHIFT_TOO_BIG":   "its sectors are larger than this system can use",
	}
}

// Why says in words why a vdev is not online; empty if it is, or nothing is known.
func (v Vdev) Why() string {
	if words := reasons()[v.Reason]; words != "" {
		return words
	}
	switch v.State {
	case Offline:
		return "it was taken offline"
	case Removed:
		return "its device is gone"
	}
	return strings.ToLower(strings.ReplaceAll(v.Reason, "_", " "))
}

// causes names the devices that are not well; empty if all are.
func causes(p Pool) string {
	var words []string
	for _, leaf := range p.Leaves() {
		if leaf.Class == Spare || leaf.State == Online || leaf.State == Available || leaf.State == InUse {
			continue
		}
		text := fmt.Sprintf("%s is %s", leaf.Name, leaf.State)
		if why := leaf.Why(); why != "" {
			text += ": " + why
		}
		words = append(words, text)
	}
	if len(words) == 0 {
		return ""
	}
	return strings.Join(words, "; ") + "."
}
