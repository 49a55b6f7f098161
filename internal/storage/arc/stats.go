package arc

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Stats are those of the ARC that others need (/proc/spl/kstat/zfs/arcstats).
type Stats struct {
	// SizeBytes is what it takes now, TargetBytes what it aims at, and MinBytes and MaxBytes its limits.
	SizeBytes, TargetBytes, MinBytes, MaxBytes uint64
	// EvictableBytes can be given back at once.
	EvictableBytes uint64
	// Hits and Misses are counted since the module was loaded. Throttled is how often somebody had to wait for memory.
	Hits, Misses, Throttled uint64
	// L2SizeBytes and L2Hits are those of cache devices.
	L2SizeBytes, L2Hits uint64
}

// ParseStats reads the kernel's text: two lines about the text, then one for each value, of name, type and number (module/os/linux/spl/spl-kstat.c).
func ParseStats(text []byte) (Stats, error) {
	values := map[string]uint64{}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[0] == "name" {
			continue
		}
		if n, err := strconv.ParseUint(fields[2], 10, 64); err == nil {
			values[fields[0]] = n
		}
	}
	for _, name := range []string{"size", "c", "c_min", "c_max", "hits", "misses"} {
		if _, there := values[name]; !there {
			return Stats{}, fmt.Errorf("read statistics of the ARC: they have no %q", name)
		}
	}
	return Stats{
		SizeBytes: values["size"], TargetBytes: values["c"], MinBytes: values["c_min"], MaxBytes: values["c_max"],
		EvictableBytes: values["mru_evictable_data"] + values["mru_evictable_metadata"] + values["mfu_evictable_data"] + values["mfu_evictable_metadata"],
		Hits:           values["hits"], Misses: values["misses"], Throttled: values["memory_throttle_count"], L2SizeBytes: values["l2_size"], L2Hits: values["l2_hits"],
	}, nil
}

// scarce is the share of the memory, in percent, below which what is available is little.
const scarce = 10

// Scarce reads /proc/meminfo: whether the machine has little memory left, of which what the ARC holds is none (proc_meminfo(5), MemAvailable). Processes wait for
// memory also where there is plenty, as those of one control group at its own limit do, and the kernel counts them all (psi_memstall_enter in mm/memcontrol.c of Linux 6.12).
func Scarce(text []byte) (bool, error) {
	var total, available uint64
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[2] != "kB" {
			continue
		}
		n, err := strconv.ParseUint(fields[1], 10, 64)
		switch fields[0] {
		case "MemTotal:":
			total = n
		case "MemAvailable:":
			available = n
		default:
			continue
		}
		if err != nil {
			return false, fmt.Errorf("read use of memory: %.80q, expected a number of kB", strings.TrimSpace(line))
		}
	}
	if total == 0 {
		return false, errors.New("read use of memory: there is no line MemTotal")
	}
	return available < total/100*scarce, nil
}

// ErrNoPressure says that the kernel measures none.
var ErrNoPressure = errors.New("the kernel does not measure pressure on memory")

// ParsePressure reads /proc/pressure/memory.
func ParsePressure(text []byte) (Pressure, error) {
	var p Pressure
	seen := 0
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		average, ok := strings.CutPrefix(fields[1], "avg10=")
		n, err := strconv.ParseFloat(average, 64)
		if !ok || err != nil || !(n >= 0 && n <= 100) {
			return Pressure{}, fmt.Errorf("read pressure on memory: %.80q, expected avg10 from 0 to 100", strings.TrimSpace(line))
		}
		switch fields[0] {
		case "some":
			p.Some = n
			seen++
		case "full":
			p.Full = n
		}
	}
	if seen == 0 {
		return Pressure{}, ErrNoPressure
	}
	return p, nil
}
