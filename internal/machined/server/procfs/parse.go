package procfs

import (
	"bytes"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	kernelv1 "github.com/cyvive/cyvive/api/proto/kernel/v1"
)

const (
	// ticksPerSecond is USER_HZ, in which /proc counts: 100 on every architecture
	// that Go runs on (include/uapi/asm-generic/param.h).
	ticksPerSecond = 100
	// sectorBytes is the unit of /proc/diskstats and of size in /sys/block, on
	// every disk (Documentation/block/stat.rst).
	sectorBytes = 512
	// maxArguments is how much of a command line is shown.
	maxArguments = 1024
)

// number reads an unsigned number; what is none is 0.
func number(s string) uint64 {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// field is number for a field that may be missing.
func field(fields []string, i int) uint64 {
	if i >= len(fields) {
		return 0
	}
	return number(fields[i])
}

// limit reads a number or "max"; nil is no limit.
func limit(s string) *uint64 {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 64)
	if err != nil {
		return nil
	}
	return &n
}

// keyed reads lines of a key and a number.
func keyed(text string) map[string]uint64 {
	out := map[string]uint64{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			out[key] = number(value)
		}
	}
	return out
}

// duration is n times unit; what is more than a duration holds is cut off.
func duration(n uint64, unit time.Duration) time.Duration {
	if n > uint64(math.MaxInt64/unit) {
		return math.MaxInt64
	}
	return time.Duration(n) * unit
}

func micros(n uint64) *durationpb.Duration { return durationpb.New(duration(n, time.Microsecond)) }
func millis(n uint64) *durationpb.Duration { return durationpb.New(duration(n, time.Millisecond)) }

func ticks(n uint64) *durationpb.Duration {
	return durationpb.New(duration(n, time.Second/ticksPerSecond))
}

// valid makes a text one that a message can hold.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

var errStat = errors.New("not the form of proc_pid_stat(5)")

// parseStat reads proc_pid_stat(5). Start is since the kernel's start. The name
// in brackets may hold spaces and brackets itself.
func parseStat(data []byte, pageBytes uint64) (p *kernelv1.Process, start time.Duration, err error) {
	begin, end := bytes.IndexByte(data, '('), bytes.LastIndexByte(data, ')')
	if begin < 0 || end < begin {
		return nil, 0, errStat
	}
	// Fields are numbered from 1 in the manual; these begin with the third.
	const first = 3
	fields := strings.Fields(string(data[end+1:]))
	if len(fields) <= 24-first {
		return nil, 0, errStat
	}
	at := func(n int) uint64 { return field(fields, n-first) }
	return &kernelv1.Process{
		Name:          valid(string(data[begin+1 : end])),
		State:         valid(fields[0]),
		ParentPid:     uint32(at(4)),
		CpuTime:       ticks(at(14) + at(15)),
		Threads:       uint32(at(20)),
		ResidentBytes: at(24) * pageBytes,
	}, duration(at(22), time.Second/ticksPerSecond), nil
}

// parseCommandLine reads proc_pid_cmdline(5): arguments that end in NUL each.
func parseCommandLine(data []byte) string {
	data = bytes.TrimRight(data[:min(len(data), maxArguments)], "\x00")
	return valid(string(bytes.ReplaceAll(data, []byte{0}, []byte{' '})))
}

// parseUID returns the effective user of a proc_pid_status(5).
func parseUID(text string) uint32 {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "Uid:"); ok {
			return uint32(field(strings.Fields(rest), 1))
		}
	}
	return 0
}

// parseCgroup returns the path in the unified hierarchy (cgroups(7)).
func parseCgroup(text string) string {
	for line := range strings.Lines(text) {
		if path, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "0::"); ok {
			return valid(path)
		}
	}
	return ""
}

// parseMountinfo reads proc_pid_mountinfo(5). Lines of another form are left out.
func parseMountinfo(text string) []*kernelv1.Mount {
	var out []*kernelv1.Mount
	for line := range strings.Lines(text) {
		before, after, ok := strings.Cut(strings.TrimSpace(line), " - ")
		mount, fs := strings.Fields(before), strings.Fields(after)
		if !ok || len(mount) < 6 || len(fs) < 2 {
			continue
		}
		m := &kernelv1.Mount{Root: unescape(mount[3]), Target: unescape(mount[4]), Options: valid(mount[5]), Type: valid(fs[0]), Source: unescape(fs[1])}
		if len(fs) > 2 {
			m.Options += "," + valid(fs[2])
		}
		out = append(out, m)
	}
	return out
}

// unescape undoes the octal escapes of spaces and the like.
func unescape(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return valid(out.String())
}

type ioBytes struct{ read, written uint64 }

// parseIOStat adds up the devices of io.stat: "8:0 rbytes=1 wbytes=2 …".
func parseIOStat(text string) ioBytes {
	var sum ioBytes
	for _, word := range strings.Fields(text) {
		if n, ok := strings.CutPrefix(word, "rbytes="); ok {
			sum.read += number(n)
		}
		if n, ok := strings.CutPrefix(word, "wbytes="); ok {
			sum.written += number(n)
		}
	}
	return sum
}

// parseUptime reads the first number of proc_uptime(5).
func parseUptime(text string) *durationpb.Duration {
	first, _, _ := strings.Cut(text, " ")
	s := decimal(first)
	if s > math.MaxInt64/float64(time.Second) {
		s = 0
	}
	return durationpb.New(time.Duration(s * float64(time.Second)))
}

// decimal reads a number that is not negative; what is none is 0.
func decimal(s string) float64 {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) || f < 0 {
		return 0
	}
	return f
}

// parseCPU reads proc_stat(5).
func parseCPU(text string) *kernelv1.CPUStats {
	s := &kernelv1.CPUStats{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		at := func(i int) *durationpb.Duration { return ticks(field(fields, i)) }
		switch key := fields[0]; {
		case key == "cpu":
			s.User, s.Nice, s.System, s.Idle = at(1), at(2), at(3), at(4)
			s.Iowait, s.Irq, s.Softirq, s.Steal = at(5), at(6), at(7), at(8)
		case strings.HasPrefix(key, "cpu"):
			s.Processors++
		case key == "ctxt":
			s.ContextSwitches = number(fields[1])
		case key == "processes":
			s.Forks = number(fields[1])
		}
	}
	return s
}

// parseLoad reads proc_loadavg(5).
func parseLoad(text string) (one, five, fifteen float64) {
	fields := append(strings.Fields(text), "", "", "")
	return decimal(fields[0]), decimal(fields[1]), decimal(fields[2])
}

// parseMeminfo reads proc_meminfo(5), which counts in KiB.
func parseMeminfo(text string) *kernelv1.MemoryStats {
	kib := map[string]uint64{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			kib[key] = number(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
		}
	}
	at := func(key string) uint64 { return kib[key] << 10 }
	return &kernelv1.MemoryStats{
		TotalBytes: at("MemTotal"), FreeBytes: at("MemFree"), AvailableBytes: at("MemAvailable"), BuffersBytes: at("Buffers"),
		CachedBytes: at("Cached"), SlabBytes: at("Slab"), DirtyBytes: at("Dirty"), SwapTotalBytes: at("SwapTotal"), SwapFreeBytes: at("SwapFree"),
	}
}

// parseDiskstats reads /proc/diskstats (Documentation/admin-guide/iostats.rst),
// without what was never used.
func parseDiskstats(text string) []*kernelv1.DiskStats {
	var out []*kernelv1.DiskStats
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 14 || field(f, 3)+field(f, 7) == 0 {
			continue
		}
		out = append(out, &kernelv1.DiskStats{
			Name: valid(f[2]), Reads: field(f, 3), ReadBytes: field(f, 5) * sectorBytes,
			Writes: field(f, 7), WrittenBytes: field(f, 9) * sectorBytes, Busy: millis(field(f, 12)),
		})
	}
	return out
}

// parseNetDev reads /proc/net/dev (proc_pid_net(5)). After two lines of headings,
// each has eight fields for what was received and eight for what was sent.
func parseNetDev(text string) []*kernelv1.InterfaceStats {
	var out []*kernelv1.InterfaceStats
	for line := range strings.Lines(text) {
		i := strings.LastIndexByte(line, ':')
		if i < 0 {
			continue
		}
		f := strings.Fields(line[i+1:])
		if len(f) < 16 {
			continue
		}
		out = append(out, &kernelv1.InterfaceStats{
			Name:          valid(strings.TrimSpace(line[:i])),
			ReceivedBytes: field(f, 0), ReceivedPackets: field(f, 1), ReceiveErrors: field(f, 2), ReceiveDrops: field(f, 3),
			SentBytes: field(f, 8), SentPackets: field(f, 9), SendErrors: field(f, 10), SendDrops: field(f, 11),
		})
	}
	return out
}

// parsePressure reads a file of /proc/pressure (Documentation/accounting/psi.rst):
// "some avg10=0.00 avg60=0.00 avg300=0.00 total=0", and "full" likewise.
func parsePressure(text string) *kernelv1.Pressure {
	p := &kernelv1.Pressure{}
	for line := range strings.Lines(text) {
		kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		values := map[string]string{}
		for _, word := range strings.Fields(rest) {
			if key, value, ok := strings.Cut(word, "="); ok {
				values[key] = value
			}
		}
		switch kind {
		case "some":
			p.SomePercent10, p.SomePercent60, p.SomeTotal = decimal(values["avg10"]), decimal(values["avg60"]), micros(number(values["total"]))
		case "full":
			p.FullPercent10, p.FullPercent60, p.FullTotal = decimal(values["avg10"]), decimal(values["avg60"]), micros(number(values["total"]))
		}
	}
	return p
}
