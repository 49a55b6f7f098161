package procfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	kernelv1 "github.com/cyvive/cyvive/api/proto/kernel/v1"
	"github.com/cyvive/cyvive/internal/machined/server"
)

// Bounds of what one call reads.
const (
	maxFileBytes = 1 << 20
	maxProcesses = 32768
	maxCgroups   = 4096
	maxDepth     = 32
)

// Reader reads the running machine, or folders that stand for it. It is safe for
// concurrent use; copies of one share what they know of reads that hang. It implements
// [server.Kernel].
type Reader struct {
	// Proc, Sys and Cgroup are where the file systems are: /proc, /sys and
	// /sys/fs/cgroup.
	Proc, Sys, Cgroup string
	// BootedAt is when the kernel started.
	BootedAt time.Time
	// foreign is nil in a Reader that lists no processes.
	foreign *foreign
}

var _ server.Kernel = Reader{}

// New returns a reader of the running machine.
func New(bootedAt time.Time) Reader {
	return Reader{Proc: "/proc", Sys: "/sys", Cgroup: "/sys/fs/cgroup", BootedAt: bootedAt, foreign: newForeign()}
}

// read returns the text of a file, its first MiB if it is longer.
func read(elem ...string) ([]byte, error) {
	f, err := os.Open(filepath.Join(elem...))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFileBytes))
}

// text is read for a file that may be missing.
func text(elem ...string) string {
	data, err := read(elem...)
	if err != nil {
		return ""
	}
	return string(data)
}

// gone tells that a process ended while it was looked at (proc_pid(5): reads of
// its files fail with ESRCH then).
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) }

// Processes implements server.Kernel.
func (r Reader) Processes(ctx context.Context) ([]*kernelv1.Process, error) {
	dir, err := os.Open(r.Proc)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var out []*kernelv1.Process
	for _, name := range names {
		pid, err := strconv.ParseUint(name, 10, 32)
		if err != nil {
			continue
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		p, err := r.process(ctx, name, uint32(pid))
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read process %s: %w", name, err)
		}
		if p != nil && len(out) < maxProcesses {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *kernelv1.Process) int { return int(a.GetPid()) - int(b.GetPid()) })
	return out, nil
}

// process reads one process; nil is a thread of the kernel.
func (r Reader) process(ctx context.Context, name string, pid uint32) (*kernelv1.Process, error) {
	stat, err := read(r.Proc, name, "stat")
	if err != nil {
		return nil, err
	}
	p, start, err := parseStat(stat, uint64(os.Getpagesize()))
	if err != nil {
		return nil, err
	}
	// kthreadd is process 2 of the machine's PID namespace, and the parent of
	// all threads of the kernel.
	if pid == 2 && p.GetParentPid() == 0 || p.GetParentPid() == 2 && p.GetResidentBytes() == 0 && p.GetState() != "Z" {
		return nil, nil
	}
	p.Pid, p.StartedAt = pid, timestamppb.New(r.BootedAt.Add(start))
	p.Uid = parseUID(text(r.Proc, name, "status"))
	p.Cgroup = parseCgroup(text(r.Proc, name, "cgroup"))
	p.CommandLine = parseCommandLine([]byte(r.commandLine(ctx, name, p.GetCgroup())))
	return p, nil
}

// commandLine reads what lies in the memory of a process, the only file here of which that
// is so.
func (r Reader) commandLine(ctx context.Context, name, cgroup string) string {
	if own(cgroup) {
		return text(r.Proc, name, "cmdline")
	}
	return r.foreign.text(ctx, filepath.Join(r.Proc, name, "cmdline"))
}

// sized are the file systems that statfs(2) is asked about: it would wait for a
// server that does not answer.
var sized = []string{"ext4", "erofs", "tmpfs", "ramfs", "zfs", "vfat", "xfs", "btrfs", "overlay", "squashfs", "iso9660", "f2fs"}

// Mounts implements server.Kernel.
func (r Reader) Mounts(ctx context.Context) ([]*kernelv1.Mount, error) {
	data, err := read(r.Proc, "self", "mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	mounts := parseMountinfo(string(data))
	for _, m := range mounts {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var fs syscall.Statfs_t
		if !slices.Contains(sized, m.GetType()) || syscall.Statfs(m.GetTarget(), &fs) != nil {
			continue
		}
		block := uint64(fs.Frsize)
		m.SizeBytes, m.UsedBytes, m.AvailableBytes = fs.Blocks*block, (fs.Blocks-fs.Bfree)*block, fs.Bavail*block
		m.Inodes, m.InodesUsed = fs.Files, fs.Files-fs.Ffree
	}
	return mounts, nil
}

// Cgroups implements server.Kernel.
func (r Reader) Cgroups(ctx context.Context) ([]*kernelv1.Cgroup, bool, error) {
	var out []*kernelv1.Cgroup
	truncated := false
	var walk func(path string, depth int) error
	walk = func(path string, depth int) error {
		if len(out) >= maxCgroups || depth > maxDepth {
			truncated = true
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		entries, err := os.ReadDir(filepath.Join(r.Cgroup, path))
		if gone(err) && path != "/" {
			return nil
		}
		if err != nil {
			return err
		}
		out = append(out, r.cgroup(path))
		for _, e := range entries {
			if e.IsDir() {
				if err := walk(filepath.Join(path, e.Name()), depth+1); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := walk("/", 0); err != nil {
		return nil, false, fmt.Errorf("list control groups: %w", err)
	}
	return out, truncated, nil
}

func (r Reader) cgroup(path string) *kernelv1.Cgroup {
	file := func(name string) string { return text(r.Cgroup, path, name) }
	cpu, io := keyed(file("cpu.stat")), parseIOStat(file("io.stat"))
	return &kernelv1.Cgroup{
		Path:            strings.ToValidUTF8(path, "\uFFFD"),
		Processes:       uint32(bytes.Count([]byte(file("cgroup.procs")), []byte("\n"))),
		MemoryBytes:     number(file("memory.current")),
		MemoryPeakBytes: number(file("memory.peak")),
		MemoryMinBytes:  number(file("memory.min")),
		MemoryMaxBytes:  limit(file("memory.max")),
		OomKills:        keyed(file("memory.events"))["oom_kill"],
		CpuTime:         micros(cpu["usage_usec"]),
		ThrottledTime:   micros(cpu["throttled_usec"]),
		Tasks:           number(file("pids.current")),
		TasksMax:        limit(file("pids.max")),
		ReadBytes:       io.read,
		WrittenBytes:    io.written,
	}
}

// Stats implements server.Kernel.
func (r Reader) Stats(context.Context) (*kernelv1.Stats, error) {
	stat, err := read(r.Proc, "stat")
	if err != nil {
		return nil, fmt.Errorf("read statistics: %w", err)
	}
	s := &kernelv1.Stats{
		Time:       timestamppb.Now(),
		Uptime:     parseUptime(text(r.Proc, "uptime")),
		Cpu:        parseCPU(string(stat)),
		Memory:     parseMeminfo(text(r.Proc, "meminfo")),
		Interfaces: parseNetDev(text(r.Proc, "net", "dev")),
	}
	s.Cpu.Load1, s.Cpu.Load5, s.Cpu.Load15 = parseLoad(text(r.Proc, "loadavg"))
	for _, d := range parseDiskstats(text(r.Proc, "diskstats")) {
		// Partitions have no folder of their own there.
		if size, err := read(r.Sys, "block", strings.ReplaceAll(d.GetName(), "/", "!"), "size"); err == nil {
			d.SizeBytes = number(string(size)) * sectorBytes
			s.Disks = append(s.Disks, d)
		}
	}
	for _, resource := range []string{"cpu", "memory", "io"} {
		if data, err := read(r.Proc, "pressure", resource); err == nil {
			p := parsePressure(string(data))
			p.Resource = resource
			s.Pressures = append(s.Pressures, p)
		}
	}
	return s, nil
}
