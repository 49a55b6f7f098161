package procfs

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	kernelv1 "github.com/cyvive/cyvive/api/proto/kernel/v1"
)

const (
	statLine = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 7 0 6000 1000000 25 18446744073709551615 1 1 0\n"
	meminfo  = "MemTotal:        4029664 kB\nMemFree:          100 kB\nMemAvailable:     200 kB\nBuffers: 1 kB\nCached: 2 kB\nSlab: 3 kB\nHugePages_Total:       0\n"
	cpuText  = "cpu  100 1 200 300 4 5 6 7 0 0\ncpu0 50 0 100 150 2 2 3 3 0 0\ncpu1 50 1 100 150 2 3 3 4 0 0\nintr 12345 0 1\nctxt 99\nbtime 1\nprocesses 77\n"
	mounts   = "25 1 254:0 / / ro,relatime shared:1 - erofs /dev/mapper/root ro,user_xattr\n" +
		"30 25 0:25 /sub /mnt/with\\040space rw,nosuid - tmpfs tmpfs rw,size=10k\n" + "nonsense\n"
	diskstats = " 254 0 vda 10 0 20 5 30 0 40 6 0 70 11 0 0 0 0 0 0\n 7 0 loop0 0 0 0 0 0 0 0 0 0 0 0\n"
	netDev    = "Inter-|   Receive                                                |  Transmit\n" +
		" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n" +
		"  eth0: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n"
	pressure = "some avg10=1.50 avg60=0.25 avg300=0.00 total=1000\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=500\n"
)

// same compares messages.
func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got, protocmp.Transform(), cmp.AllowUnexported(ioBytes{})); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestParse(t *testing.T) {
	p, start, err := parseStat([]byte(statLine), 4096)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "stat", &kernelv1.Process{Name: "a) b (c", State: "S", ParentPid: 1, CpuTime: durationpb.New(2 * time.Second), Threads: 7, ResidentBytes: 25 * 4096}, p)
	same(t, "start", time.Minute, start)
	for _, bad := range []string{"", "1 (x", "1 x) (", "1 (x) S 1 2"} {
		if _, _, err := parseStat([]byte(bad), 4096); !errors.Is(err, errStat) {
			t.Errorf("stat %q: got %v, want %v", bad, err, errStat)
		}
	}
	same(t, "cmdline", "/usr/bin/x --a b", parseCommandLine([]byte("/usr/bin/x\x00--a\x00b\x00")))
	same(t, "long cmdline", maxArguments, len(parseCommandLine([]byte(strings.Repeat("x", 5000)))))
	same(t, "uid", uint32(901), parseUID("Name:\tx\nUid:\t0\t901\t0\t0\n"))
	same(t, "cgroup", "/system/etcd", parseCgroup("1:name=systemd:/\n0::/system/etcd\n"))
	same(t, "mounts", []*kernelv1.Mount{
		{Target: "/", Source: "/dev/mapper/root", Type: "erofs", Options: "ro,relatime,ro,user_xattr", Root: "/"},
		{Target: "/mnt/with space", Source: "tmpfs", Type: "tmpfs", Options: "rw,nosuid,rw,size=10k", Root: "/sub"},
	}, parseMountinfo(mounts))
	same(t, "io.stat", ioBytes{read: 11, written: 22}, parseIOStat("8:0 rbytes=10 wbytes=20 rios=1\n8:16 rbytes=1 wbytes=2\n"))
	same(t, "uptime", durationpb.New(12340*time.Millisecond), parseUptime("12.34 56.78\n"))
	tick := func(n int) *durationpb.Duration { return durationpb.New(time.Duration(n) * 10 * time.Millisecond) }
	same(t, "cpu", &kernelv1.CPUStats{
		Processors: 2, User: tick(100), Nice: tick(1), System: tick(200), Idle: tick(300), Iowait: tick(4), Irq: tick(5), Softirq: tick(6), Steal: tick(7),
		ContextSwitches: 99, Forks: 77,
	}, parseCPU(cpuText))
	same(t, "meminfo", &kernelv1.MemoryStats{
		TotalBytes: 4029664 << 10, FreeBytes: 100 << 10, AvailableBytes: 200 << 10, BuffersBytes: 1 << 10, CachedBytes: 2 << 10, SlabBytes: 3 << 10,
	}, parseMeminfo(meminfo))
	same(t, "diskstats", []*kernelv1.DiskStats{
		{Name: "vda", Reads: 10, ReadBytes: 20 * 512, Writes: 30, WrittenBytes: 40 * 512, Busy: durationpb.New(70 * time.Millisecond)},
	}, parseDiskstats(diskstats))
	same(t, "net/dev", []*kernelv1.InterfaceStats{
		{Name: "eth0", ReceivedBytes: 1, ReceivedPackets: 2, ReceiveErrors: 3, ReceiveDrops: 4, SentBytes: 5, SentPackets: 6, SendErrors: 7, SendDrops: 8},
	}, parseNetDev(netDev))
	same(t, "pressure", &kernelv1.Pressure{
		SomePercent10: 1.5, SomePercent60: 0.25, SomeTotal: durationpb.New(time.Millisecond), FullPercent10: 0.5, FullTotal: durationpb.New(500 * time.Microsecond),
	}, parsePressure(pressure))
	one, five, fifteen := parseLoad("0.50 0.25 0.10 1/200 3000\n")
	same(t, "loadavg", []float64{0.5, 0.25, 0.1}, []float64{one, five, fifteen})
}

// folder writes a tree of files.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, data := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestCgroups(t *testing.T) {
	root := folder(t, map[string]string{
		"cpu.stat": "usage_usec 5000000\n", "system/memory.min": "1024\n",
		"system/etcd/memory.current": "4096\n", "system/etcd/memory.max": "max\n", "system/etcd/pids.max": "100\n", "system/etcd/pids.current": "9\n",
		"system/etcd/cgroup.procs": "30\n31\n", "system/etcd/memory.events": "low 0\noom_kill 2\n",
		"system/etcd/cpu.stat": "usage_usec 1000\nthrottled_usec 7\n",
	})
	got, truncated, err := Reader{Cgroup: root}.Cgroups(t.Context())
	if err != nil || truncated {
		t.Fatalf("truncated %t, %v", truncated, err)
	}
	zero := durationpb.New(0)
	same(t, "groups", []*kernelv1.Cgroup{
		{Path: "/", CpuTime: durationpb.New(5 * time.Second), ThrottledTime: zero},
		{Path: "/system", MemoryMinBytes: 1024, CpuTime: zero, ThrottledTime: zero},
		{
			Path: "/system/etcd", Processes: 2, MemoryBytes: 4096, OomKills: 2, CpuTime: durationpb.New(time.Millisecond),
			ThrottledTime: durationpb.New(7 * time.Microsecond), Tasks: 9, TasksMax: proto.Uint64(100),
		},
	}, got)
	many := map[string]string{}
	for i := range maxCgroups + 10 {
		many[filepath.Join("g", string(rune('a'+i%26)), time.Duration(i).String(), "x")] = ""
	}
	got, truncated, err = Reader{Cgroup: folder(t, many)}.Cgroups(t.Context())
	if err != nil || !truncated || len(got) != maxCgroups {
		t.Errorf("too many groups: got %d, truncated %t, %v; want %d, truncated", len(got), truncated, err, maxCgroups)
	}
	if _, _, err := (Reader{Cgroup: filepath.Join(root, "nosuch")}).Cgroups(t.Context()); err == nil {
		t.Error("no tree: got no error")
	}
}

// TestThisMachine reads the machine that the test runs on.
func TestThisMachine(t *testing.T) {
	uptime := parseUptime(text("/proc", "uptime")).AsDuration()
	r := New(time.Now().Add(-uptime))
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	})
	processes, err := r.Processes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(processes, func(p *kernelv1.Process) bool { return int(p.GetPid()) == child.Process.Pid })
	if i < 0 {
		t.Fatal("the test's own child is not among the processes")
	}
	p := processes[i]
	if p.GetCommandLine() != "sleep 60" || p.GetName() != "sleep" || int(p.GetParentPid()) != os.Getpid() || time.Since(p.GetStartedAt().AsTime()).Abs() > 10*time.Second {
		t.Errorf("child: got %v", p)
	}
	list, err := r.Mounts(t.Context())
	if err != nil || !slices.ContainsFunc(list, func(m *kernelv1.Mount) bool { return m.GetTarget() == "/proc" && m.GetType() == "proc" }) {
		t.Errorf("mounts: %v, %v; want /proc among them", list, err)
	}
	stats, err := r.Stats(t.Context())
	if err != nil || stats.GetCpu().GetProcessors() == 0 || stats.GetMemory().GetTotalBytes() == 0 || stats.GetCpu().GetUser().AsDuration() == 0 {
		t.Errorf("stats: %v, %v", stats, err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Processes(canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: got %v", err)
	}
}

// TestProcessesThatHang: a read of a process's memory that does not come to an end takes no
// call with it, only so many of them are begun, and the node's own processes are read
// without regard to them.
func TestProcessesThatHang(t *testing.T) {
	const hanging = 3 * maxForeign
	files := map[string]string{}
	add := func(pid int, cgroup string) {
		name := strconv.Itoa(pid)
		files[name+"/stat"] = strings.Replace(statLine, "42", name, 1)
		files[name+"/cgroup"] = "0::" + cgroup + "\n"
	}
	add(1000, "/system/etcd")
	files["1000/cmdline"] = "/usr/bin/etcd\x00"
	for pid := 2000; pid < 2000+hanging; pid++ {
		add(pid, "/workload/plane/kubepods/pod1")
	}
	root := folder(t, files)
	var pipes []string
	for pid := 2000; pid < 2000+hanging; pid++ {
		pipe := filepath.Join(root, strconv.Itoa(pid), "cmdline")
		// Nobody writes into it: whoever opens it waits, as whoever reads the memory does.
		if err := syscall.Mkfifo(pipe, 0o600); err != nil {
			t.Fatal(err)
		}
		pipes = append(pipes, pipe)
	}
	r := Reader{Proc: root, foreign: newForeign()}
	for round := range 3 {
		began := time.Now()
		list, err := r.Processes(t.Context())
		if err != nil || len(list) != hanging+1 {
			t.Fatalf("round %d: got %d processes, %v; want %d", round, len(list), err, hanging+1)
		}
		if got := list[0].GetCommandLine(); got != "/usr/bin/etcd" {
			t.Errorf("round %d: the node's own process: got command line %q", round, got)
		}
		if took, most := time.Since(began), 3*maxForeign*foreignTime; took > most {
			t.Errorf("round %d: it took %v, more than %v", round, took, most)
		}
		if got := r.foreign.reads(); got > maxForeign {
			t.Errorf("round %d: %d reads hang, more than %d", round, got, maxForeign)
		}
	}
	// When all that hang have come to their ends, every one is read again.
	for _, pipe := range pipes {
		w, err := os.OpenFile(pipe, os.O_RDWR|syscall.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.Close(), os.Remove(pipe), os.WriteFile(pipe, []byte("/bin/sh\x00"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for end := time.Now().Add(30 * time.Second); r.foreign.reads() > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d reads hang still", r.foreign.reads())
		}
	}
	list, err := r.Processes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list[1:] {
		if p.GetCommandLine() != "/bin/sh" {
			t.Errorf("process %d afterwards: got command line %q", p.GetPid(), p.GetCommandLine())
		}
	}
}

// reads is how many nobody waits for any more.
func (f *foreign) reads() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hanging
}

// FuzzParse feeds every parser. What they make must fit into a message.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		statLine, meminfo, cpuText, mounts, diskstats, netDev, pressure, "", "12.34 5\n", "usage_usec 18446744073709551615\n", "max\n",
		"0::/\xff\n", "cpu 18446744073709551615 99999999999999999999\n", "1e999 -1 NaN\n", `25 1 0:1 \777 \040 rw - t \1`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		text := string(data)
		stats := &kernelv1.Stats{
			Uptime: parseUptime(text), Cpu: parseCPU(text), Memory: parseMeminfo(text), Disks: parseDiskstats(text),
			Interfaces: parseNetDev(text), Pressures: []*kernelv1.Pressure{parsePressure(text)},
		}
		stats.Cpu.Load1, stats.Cpu.Load5, stats.Cpu.Load15 = parseLoad(text)
		process := &kernelv1.Process{CommandLine: parseCommandLine(data), Uid: parseUID(text), Cgroup: parseCgroup(text)}
		if p, start, err := parseStat(data, 4096); err == nil {
			if start < 0 {
				t.Errorf("the process started %v after the kernel", start)
			}
			process.Name, process.State, process.CpuTime = p.GetName(), p.GetState(), p.GetCpuTime()
		}
		keys := keyed(text)
		group := &kernelv1.Cgroup{MemoryMaxBytes: limit(text), CpuTime: micros(keys["usage_usec"]), ReadBytes: parseIOStat(text).read}
		for _, d := range []*durationpb.Duration{stats.GetUptime(), stats.GetCpu().GetUser(), process.GetCpuTime(), group.GetCpuTime()} {
			if d != nil && (!d.IsValid() || d.AsDuration() < 0) {
				t.Errorf("a duration is %v", d)
			}
		}
		for _, m := range []proto.Message{stats, process, group, &kernelv1.ListMountsResponse{Mounts: parseMountinfo(text)}} {
			if _, err := proto.Marshal(m); err != nil {
				t.Errorf("encode %T: %v", m, err)
			}
		}
	})
}
