package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cyvive/cyvive/hack/qemu/probe"
	"github.com/cyvive/cyvive/hack/qemu/vm"
)

// Idle is what a machine uses while nobody asks anything of it.
type Idle struct {
	Seconds float64 `json:"seconds"`
	// CPUSeconds is the processor time of QEMU's process: the guest's, and what it
	// costs to emulate its devices.
	CPUSeconds float64 `json:"cpuSeconds"`
	// MemoryBytes is the mean of MemTotal - MemAvailable (proc_meminfo(5)).
	MemoryBytes int64 `json:"memoryBytes"`
	// DiskReadBytes and DiskWrittenBytes are QEMU's counters, all disks together.
	DiskReadBytes    int64 `json:"diskReadBytes"`
	DiskWrittenBytes int64 `json:"diskWrittenBytes"`
	// NetworkBytes is what the network card received and sent.
	NetworkBytes int64 `json:"networkBytes"`
}

// memoryInterval is how often memory is looked at.
const memoryInterval = 15 * time.Second

// counters are those that only grow.
type counters struct {
	cpu           time.Duration
	read, written int64
	network       int64
}

func measureIdle(ctx context.Context, v *vm.VM, p *probe.Client, length time.Duration) (Idle, error) {
	began := time.Now()
	before, err := readCounters(ctx, v, p)
	if err != nil {
		return Idle{}, err
	}
	var memory, samples int64
	end := time.After(length)
	tick := time.NewTicker(min(memoryInterval, length))
	defer tick.Stop()
	for waiting := true; waiting; {
		text, err := p.Read(ctx, "/proc/meminfo")
		if err != nil {
			return Idle{}, err
		}
		used, err := usedMemory(text)
		if err != nil {
			return Idle{}, err
		}
		memory, samples = memory+used, samples+1
		select {
		case <-ctx.Done():
			return Idle{}, context.Cause(ctx)
		case <-tick.C:
		case <-end:
			waiting = false
		}
	}
	after, err := readCounters(ctx, v, p)
	if err != nil {
		return Idle{}, err
	}
	return Idle{
		Seconds: time.Since(began).Seconds(), CPUSeconds: (after.cpu - before.cpu).Seconds(), MemoryBytes: memory / samples,
		DiskReadBytes: after.read - before.read, DiskWrittenBytes: after.written - before.written,
		NetworkBytes: after.network - before.network,
	}, nil
}

func readCounters(ctx context.Context, v *vm.VM, p *probe.Client) (counters, error) {
	var c counters
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(v.PID()), "stat"))
	if err != nil {
		return c, fmt.Errorf("read processor time of QEMU: %w", err)
	}
	if c.cpu, err = cpuTime(string(stat)); err != nil {
		return c, err
	}
	if c.read, c.written, err = diskBytes(ctx, v); err != nil {
		return c, err
	}
	dev, err := p.Read(ctx, "/proc/net/dev")
	if err != nil {
		return c, err
	}
	c.network, err = cardBytes(dev)
	return c, err
}

// diskBytes asks QEMU for its block statistics (qapi/block-core.json, BlockStats).
func diskBytes(ctx context.Context, v *vm.VM) (read, written int64, err error) {
	m, err := v.Monitor(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer m.Close()
	var disks []struct {
		Stats struct {
			Read    int64 `json:"rd_bytes"`
			Written int64 `json:"wr_bytes"`
		} `json:"stats"`
	}
	if err := m.Execute(ctx, "query-blockstats", nil, &disks); err != nil {
		return 0, 0, err
	}
	for _, d := range disks {
		read, written = read+d.Stats.Read, written+d.Stats.Written
	}
	return read, written, nil
}

// ticksPerSecond is USER_HZ, in which /proc counts on every architecture that Go
// runs on (include/uapi/asm-generic/param.h).
const ticksPerSecond = 100

// cpuTime reads fields 14 and 15 of proc_pid_stat(5), user and system time.
func cpuTime(stat string) (time.Duration, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	const user, system = 14 - 3, 15 - 3 // the first behind the name is field 3
	if len(fields) <= system {
		return 0, fmt.Errorf("read processor time: %d fields behind the name, expected %d at least", len(fields), system+1)
	}
	var ticks uint64
	for _, field := range []string{fields[user], fields[system]} {
		n, err := strconv.ParseUint(field, 10, 38)
		if err != nil {
			return 0, fmt.Errorf("read processor time: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / ticksPerSecond), nil
}

// usedMemory is what proc_meminfo(5) says is not available, in bytes.
func usedMemory(meminfo string) (int64, error) {
	sizes := map[string]int64{}
	for line := range strings.Lines(meminfo) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[2] != "kB" {
			continue
		}
		if n, err := strconv.ParseUint(fields[1], 10, 52); err == nil {
			sizes[fields[0]] = int64(n) << 10
		}
	}
	total, available := sizes["MemTotal:"], sizes["MemAvailable:"]
	if total == 0 || available > total {
		return 0, fmt.Errorf("read memory: MemTotal is %d bytes, MemAvailable %d", total, available)
	}
	return total - available, nil
}

// cardBytes adds up what the network cards of proc_net_dev(5) received and sent:
// the links whose names begin with "e", as the kernel and systemd name them.
func cardBytes(dev string) (int64, error) {
	var sum int64
	cards := 0
	for line := range strings.Lines(dev) {
		name, rest, ok := strings.Cut(strings.TrimSpace(line), ":")
		fields := strings.Fields(rest)
		const received, sent = 0, 8
		if !ok || !strings.HasPrefix(name, "e") || len(fields) <= sent {
			continue
		}
		cards++
		for _, field := range []string{fields[received], fields[sent]} {
			n, err := strconv.ParseUint(field, 10, 62)
			if err != nil {
				return 0, fmt.Errorf("read counters of %s: %w", name, err)
			}
			sum += int64(n)
		}
	}
	if cards == 0 {
		return 0, fmt.Errorf("read counters of the network card: none is in\n%s", dev)
	}
	return sum, nil
}
