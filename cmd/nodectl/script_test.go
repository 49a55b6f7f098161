package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	datasetv1 "github.com/cyvive/cyvive/api/proto/dataset/v1"
	filev1 "github.com/cyvive/cyvive/api/proto/file/v1"
	installv1 "github.com/cyvive/cyvive/api/proto/install/v1"
	kernelv1 "github.com/cyvive/cyvive/api/proto/kernel/v1"
	poolv1 "github.com/cyvive/cyvive/api/proto/pool/v1"
	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	snapshotv1 "github.com/cyvive/cyvive/api/proto/snapshot/v1"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/server/auditlog"
	"github.com/cyvive/cyvive/internal/machined/server/servertest"
	"github.com/cyvive/cyvive/internal/pki"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"nodectl": main})
}

// TestScripts runs nodectl as a process against the real server, over TLS, on
// nodes that are values. With -short, as with the race detector, it is left out: its
// processes do one thing after the other, and the server has tests of its own.
func TestScripts(t *testing.T) {
	if testing.Short() {
		t.Skip("starts nodectl some hundred times; without -short it runs")
	}
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(e *testscript.Env) error {
			e.Values[nodesKey{}] = &nodes{listeners: map[string]net.Listener{}, apis: map[string]*servertest.API{}, values: map[string]*servertest.Node{}}
			e.Setenv("ARCH", runtime.GOARCH)
			e.Setenv("HOME", e.WorkDir+"/home")
			e.Setenv("NODECTL_CONFIG", e.WorkDir+"/contexts.yaml")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"address": cmdAddress, "serve": cmdServe, "stop": cmdStop, "exits": cmdExits, "mode": cmdMode, "tamper": cmdTamper,
			"keep": cmdKeep, "fingerprint": cmdFingerprint, "clock": cmdClock,
			"pause": cmdPause, "unfit": cmdUnfit, "pods": cmdPods, "diskfault": cmdDiskFault, "stays": cmdStays, "agekey": cmdAgeKey, "unpack": cmdUnpack,
			"scrubs": cmdScrubs, "nocrash": cmdNoCrash,
		},
	})
}

type nodesKey struct{}

// nodes is the fake nodes of one script, by name.
type nodes struct {
	listeners map[string]net.Listener
	apis      map[string]*servertest.API
	values    map[string]*servertest.Node
}

func nodesOf(ts *testscript.TestScript) *nodes { return ts.Value(nodesKey{}).(*nodes) }

// scriptTB adapts a script to what servertest wants of a test.
type scriptTB struct {
	testing.TB
	ts *testscript.TestScript
}

func (s scriptTB) Helper()                   {}
func (s scriptTB) Cleanup(f func())          { s.ts.Defer(f) }
func (s scriptTB) Fatal(args ...any)         { s.ts.Fatalf("%s", fmt.Sprint(args...)) }
func (s scriptTB) Errorf(f string, a ...any) { s.ts.Logf(f, a...) }

// cmdAddress takes a port for a node: address VARIABLE.
func cmdAddress(ts *testscript.TestScript, _ bool, args []string) {
	l := servertest.Listen(scriptTB{ts: ts})
	nodesOf(ts).listeners[args[0]] = l
	ts.Defer(func() { l.Close() })
	ts.Setenv(args[0], l.Addr().String())
}

// cmdServe runs a node at an address taken: serve VARIABLE [CONFIG | --owner
// FINGERPRINT | --closed]. Without a configuration it is in maintenance mode, until
// one is applied.
func cmdServe(ts *testscript.TestScript, _ bool, args []string) {
	node := exampleNode()
	var authority *pki.Authority
	unconfigured := server.Unconfigured{Audience: server.AudienceAnybody}
	switch {
	case len(args) > 2:
		owner, err := pki.ParseFingerprint(args[2])
		ts.Check(err)
		unconfigured = server.Unconfigured{Audience: server.AudienceOwner, Owner: owner, Source: "the kernel command line"}
	case len(args) > 1 && args[1] == "--closed":
		unconfigured = server.Unconfigured{Reason: "it is still looking for its configuration"}
	case len(args) > 1:
		authority = authorityOf(ts, args[1], ts.ReadFile(args[1]))
		cfg, err := config.Parse(args[1], []byte(ts.ReadFile(args[1])))
		ts.Check(err)
		node.NodeValue.Hostname = cfg.Machine.Hostname
		node.Configs.Add(ts.ReadFile(args[1]))
	}
	node.NodeValue.BootID = "boot-1"
	if authority == nil {
		node.Checks = []server.Check{{Name: "config", Reason: `user-data:3: Cluster.podCIDR: got "x", expected an IPv4 prefix`}}
	}
	log, err := auditlog.Open(ts.MkAbs("audit-"+args[0]), "boot-1", 1<<20, time.Now)
	ts.Check(err)
	boot := 1
	var api atomic.Pointer[servertest.API]
	node.OnPower = func(n *servertest.Node) { // before the node runs: it is called by another goroutine
		if calls := n.Calls(); calls[len(calls)-1] == "shutdown" {
			go api.Load().Stop(scriptTB{ts: ts})
			return
		}
		n.Change(func(n *servertest.Node) {
			boot++
			n.NodeValue.BootID = fmt.Sprintf("boot-%d", boot)
		})
	}
	node.Configs.OnApply = func(document string) {
		if authority == nil { // once the answer is on its way
			time.AfterFunc(200*time.Millisecond, func() { api.Load().SetAuthority(scriptTB{ts: ts}, authorityOf(ts, "applied", document)) })
		}
	}
	api.Store(servertest.StartOn(scriptTB{ts: ts}, nodesOf(ts).listeners[args[0]], node, authority, log))
	if authority == nil {
		api.Load().SetUnconfigured(scriptTB{ts: ts}, unconfigured)
	}
	nodesOf(ts).apis[args[0]], nodesOf(ts).values[args[0]] = api.Load(), node
}

func authorityOf(ts *testscript.TestScript, name, document string) *pki.Authority {
	cfg, err := config.Parse(name, []byte(document))
	ts.Check(err)
	authority, err := pki.ParseAuthority([]byte(cfg.Machine.CA.Certificate), []byte(cfg.Machine.CA.Key.Reveal()))
	ts.Check(err)
	return authority
}

// cmdKeep puts what the last program printed into a variable: keep VARIABLE.
func cmdKeep(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
}

// cmdFingerprint puts that of a node's key into a variable, as its console would show it: fingerprint VARIABLE NODE.
func cmdFingerprint(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], nodesOf(ts).apis[args[1]].Fingerprint.String())
}

// cmdClock moves the clock of a node without a configuration, whose owner stays: clock NODE DURATION FINGERPRINT.
func cmdClock(ts *testscript.TestScript, _ bool, args []string) {
	d, err := time.ParseDuration(args[1])
	ts.Check(err)
	owner, err := pki.ParseFingerprint(args[2])
	ts.Check(err)
	api := nodesOf(ts).apis[args[0]]
	api.Advance(d)
	api.SetUnconfigured(scriptTB{ts: ts}, server.Unconfigured{Audience: server.AudienceOwner, Owner: owner})
}

// cmdUnfit sets why the next release that a node starts goes back; without a reason it
// stays: unfit VARIABLE [REASON].
func cmdUnfit(ts *testscript.TestScript, _ bool, args []string) {
	nodesOf(ts).values[args[0]].Change(func(n *servertest.Node) { n.Upgrades.Unfit = strings.Join(args[1:], " ") })
}

// cmdDiskFault sets how installations end; without a reason they end well: diskfault VARIABLE [REASON].
func cmdDiskFault(ts *testscript.TestScript, _ bool, args []string) {
	nodesOf(ts).values[args[0]].Change(func(n *servertest.Node) { n.DiskFault = reason(args[1:]) })
}

// cmdStays sets why a node cannot leave its cluster; without a reason it can: stays VARIABLE [REASON].
func cmdStays(ts *testscript.TestScript, _ bool, args []string) {
	nodesOf(ts).values[args[0]].Change(func(n *servertest.Node) { n.ResetFault = reason(args[1:]) })
}

func reason(words []string) error {
	if len(words) == 0 {
		return nil
	}
	return errors.New(strings.Join(words, " "))
}

// cmdNoCrash takes away what dead kernels left on a node: nocrash VARIABLE.
func cmdNoCrash(ts *testscript.TestScript, _ bool, args []string) {
	nodesOf(ts).values[args[0]].Change(func(n *servertest.Node) { n.CrashList, n.CrashLines = nil, nil })
}

// cmdPods sets what becomes of a node's pods: pods VARIABLE gone|stuck|nowhere.
func cmdPods(ts *testscript.TestScript, _ bool, args []string) {
	steps := []server.DrainProgress{{Remaining: 3, Waiting: "waiting for default/web to end"}}
	outcome := map[string]server.DrainOutcome{
		"gone": {Result: server.DrainComplete, Gone: 3, Reason: "left on the node, since nothing would make them anew: default/bare"},
		"stuck": {
			Result: server.DrainPartial, Gone: 2, Remaining: 1, Reason: "the deadline of 1m0s is over: not allowed to evict default/db: it would violate the disruption budget",
		},
	}[args[1]]
	if args[1] == "nowhere" {
		steps = nil
	}
	nodesOf(ts).values[args[0]].Change(func(n *servertest.Node) { n.DrainSteps, n.DrainOutcome = steps, outcome })
}

// cmdScrubs has what the next scrub of a node's pool has to read be read after two seconds: scrubs VARIABLE.
func cmdScrubs(ts *testscript.TestScript, _ bool, args []string) {
	node := nodesOf(ts).values[args[0]]
	end := time.AfterFunc(2*time.Second, func() {
		node.Change(func(n *servertest.Node) {
			scan := n.Pools.List.Pools[0].Scan
			scan.Progress, scan.DoneBytes, scan.EndedAt = poolv1.Progress_PROGRESS_FINISHED, scan.GetTotalBytes(), timestamppb.Now()
		})
	})
	ts.Defer(func() { end.Stop() })
}

// cmdStop stops a node: stop VARIABLE.
func cmdStop(ts *testscript.TestScript, _ bool, args []string) {
	nodesOf(ts).apis[args[0]].Stop(scriptTB{ts: ts})
}

// cmdExits runs a program that must end with a status: exits STATUS PROGRAM….
func cmdExits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("%v: exit status %d, want %d", args[1:], got, want)
	}
}

// cmdMode checks a file's permissions: mode OCTAL FILE….
func cmdMode(ts *testscript.TestScript, _ bool, args []string) {
	for _, file := range args[1:] {
		info, err := os.Stat(ts.MkAbs(file))
		ts.Check(err)
		if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[0] {
			ts.Fatalf("%s: mode %s, want %s", file, got, args[0])
		}
	}
}

// cmdTamper replaces one occurrence, counted from 1, of a text in a file: tamper FILE OLD NEW N.
func cmdTamper(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[3])
	ts.Check(err)
	parts := strings.Split(ts.ReadFile(args[0]), args[1])
	if len(parts) <= n {
		ts.Fatalf("%s: %q occurs %d times only", args[0], args[1], len(parts)-1)
	}
	text := strings.Join(parts[:n], args[1]) + args[2] + strings.Join(parts[n:], args[1])
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// cmdPause gives a program in the background time: pause DURATION.
func cmdPause(ts *testscript.TestScript, _ bool, args []string) {
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	time.Sleep(d)
}

// exampleNode is a node in good health.
func exampleNode() *servertest.Node {
	at := time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)
	return &servertest.Node{
		Disks: servertest.Disks{
			RecoveryKey: "000GT-40R4J-0M30Q",
			List: []server.Volume{
				{
					Name: "state", Device: "/dev/vda6", SizeBytes: 64 << 20, Encrypted: true, Recoverable: true,
					Reason: "partition state (/dev/vda6) is encrypted and does not open: sealed by another TPM",
				},
				{Name: "data", Device: "/dev/vda7", SizeBytes: 10 << 30, Encrypted: true, Recoverable: true, Reason: "volume data has its key on volume state"},
			},
		},
		Extensions: servertest.Extensions{
			SBOM: "{\"spdxVersion\": \"SPDX-2.3\"}\n",
			List: []server.Extension{
				{
					ExtensionName: server.ExtensionName{Name: "nlmon", Version: "1.0.0", Kernel: "6.12.57"}, Modules: []string{"nlmon"}, SizeBytes: 4 << 20,
					RootHash: "00aa", State: server.ExtensionActive,
				},
				{
					ExtensionName: server.ExtensionName{Name: "nlmon", Version: "1.0.0", Kernel: "6.12.58"}, Modules: []string{"nlmon"}, SizeBytes: 4 << 20,
					RootHash: "00ab", State: server.ExtensionStored, Reason: "it does not fit: its modules are for kernel 6.12.58, not for 6.12.57",
				},
				{
					ExtensionName: server.ExtensionName{Name: "agent", Version: "2.0.0"}, State: server.ExtensionFailed,
					Reason: "agent 2.0.0 is not on the node; push it",
				},
			},
			Next: server.Extension{
				ExtensionName: server.ExtensionName{Name: "agent", Version: "2.0.0"}, Service: "ext-agent", OSFrom: "0.1.0", SizeBytes: 9 << 20, RootHash: "00ac",
				State: server.ExtensionStored,
			},
		},
		Pools:       examplePools(at.Add(72 * time.Hour)),
		Replication: exampleReplication(),
		Datasets: servertest.Datasets{
			List: []*datasetv1.Dataset{
				{Name: "tank", Kind: datasetv1.Kind_KIND_FILESYSTEM, UsedBytes: 4 << 30, Compression: "zstd", CompressRatio: 1.5, Mountpoint: "none"},
				{
					Name: "tank/data", Kind: datasetv1.Kind_KIND_FILESYSTEM, UsedBytes: 3 << 30, AvailableBytes: 7 << 30, ReferencedBytes: 1 << 30, SnapshotsBytes: 512 << 20,
					QuotaBytes: 10 << 30, ReservationBytes: 1 << 30, Compression: "zstd", CompressRatio: 1.85, Mountpoint: "/var/mnt/data", Mounted: true, Declared: true,
				},
				{Name: "tank/vol", Kind: datasetv1.Kind_KIND_VOLUME, UsedBytes: 1 << 30, VolumeBytes: 2 << 30, Compression: "lz4", CompressRatio: 1},
			},
			Snapshots: []*snapshotv1.Snapshot{
				{Name: "tank/data@mon", CreatedAt: timestamppb.New(at), UsedBytes: 1 << 20}, {Name: "tank/data@tue", CreatedAt: timestamppb.New(at.Add(24 * time.Hour))},
				{Name: "tank/vol@one", CreatedAt: timestamppb.New(at), Holds: []string{"keep"}, Clones: []string{"tank/clone"}},
			},
			Replicas: []string{"tank/in/data"}, Meanwhile: []*snapshotv1.Snapshot{{Name: "tank/vol@meanwhile"}},
			Properties: map[string][]*datasetv1.Property{"tank/data": {
				{Name: "atime", Value: "off", Source: datasetv1.Source_SOURCE_INHERITED, InheritedFrom: "tank"},
				{Name: "org.example:owner", Value: "team\x1b[31m", Source: datasetv1.Source_SOURCE_LOCAL},
				{Name: "recordsize", Value: "131072", Source: datasetv1.Source_SOURCE_DEFAULT}, {Name: "used", Value: "3221225472", Source: datasetv1.Source_SOURCE_NONE},
			}},
			Diff: &snapshotv1.DiffResponse{Truncated: true, Changes: []*snapshotv1.Change{
				{Kind: snapshotv1.ChangeKind_CHANGE_KIND_ADDED, Path: "/var/mnt/data/a"},
				{Kind: snapshotv1.ChangeKind_CHANGE_KIND_RENAMED, Path: "/var/mnt/data/old", NewPath: "/var/mnt/data/new"},
			}},
			Conditions: []*datasetv1.Condition{{Dataset: "tank/new", Reason: "ParentMissing", Text: "tank/x is not there; declare it, too"}},
			Schedules: []*snapshotv1.Schedule{
				{Name: "daily", Snapshots: 12, NewestAt: timestamppb.New(at)}, {
					Name: "late", Problems: []string{"schedule late: tank/gone: there is no such dataset"}, FailingSince: timestamppb.New(at), RetryAt: timestamppb.New(at.Add(5 * time.Minute)),
				},
			},
			Verdicts: []*snapshotv1.Verdict{
				{Snapshot: "tank/data@mon", Fate: snapshotv1.Fate_FATE_GOES}, {Snapshot: "tank/data@tue", Fate: snapshotv1.Fate_FATE_STAYS, Reasons: []string{"is one of the last 3"}},
				{Snapshot: "tank/vol@one", Fate: snapshotv1.Fate_FATE_STUCK, Reasons: []string{"is held by keep"}},
			},
		},
		VersionValue: server.Version{
			OS: "0.1.0", KernelRelease: "6.12.57", RootHash: "00112233445566778899", Slot: "a",
			Components: []server.Component{{Name: "etcd", Version: "3.6.12", Source: "go.etcd.io/etcd"}},
		},
		Checks: []server.Check{{Name: "config", Healthy: true, Since: at}, {Name: "etcd", Healthy: true, Since: at}},
		NodeValue: server.Node{
			Role: server.RoleControlPlane, ClusterName: "demo",
		},
		Records: []server.Record{
			{Sequence: 1, Level: 5, Message: "Linux version 6.12.57"},
			{Sequence: 2, Level: 6, SinceBoot: 1234567 * time.Microsecond, Message: "NET: \x1b[31mred"},
		},
		ServiceList: []server.Service{
			{Name: "machined", State: server.ServiceRunning, PID: 12, Since: at},
			{Name: "etcd", State: server.ServiceFailed, Restarts: 2, LastExit: "exit status 1", Since: at, Reason: "exit status 1; the next start is at 04:00:10"},
		},
		Targets: []*installv1.Disk{
			{Name: "vdb", SizeBytes: 64 << 30, Type: "ssd", Model: "Fast Disk", Serial: "S-1", Wwn: "naa.5001", Bus: "ata", Path: "pci0000:00/0000:00:1f.2"},
			{Name: "vdc", SizeBytes: 64 << 30, Type: "hdd", Model: "Slow Disk", Serial: "S-2"},
		},
		DiskData: map[string]string{"S-2": "GPT (partition table)"},
		Lines:    map[string][]string{"etcd": {"one", "two <&>", "three"}},
		PastLines: map[string][]string{
			"etcd": {"before one", "before \x1b[31mtwo"}, "plane/kubelet": {`{"msg":"login","password":"hunter2-past"}`, "the last words"},
			"kernel": {
				"<5>[    0.000000] Linux version 6.12.56", "[3 records of the kernel are missing here: more came than the kernel holds, or than is kept]",
				"<30>[    4.000000] init: \x1b[31mgoing down",
			},
		},
		PastLacks: "the logs of boot 99887766-bbbb were not ended in order: what was written in its last seconds may be missing",
		ContainerList: []server.Container{
			{Namespace: "system", Name: "etcd", ID: "etcd", PID: 30, State: server.ContainerRunning, StartedAt: at},
			{Namespace: "k8s.io", Name: "web", ID: "c1", Pod: "demo", PodNamespace: "default", Image: "cyvive.dev/demo:0.1.0", State: server.ContainerStopped},
		},
		BootList: []server.Boot{
			{
				ID: "4b2c9e30-aaaa", StartedAt: at, End: server.BootRunning, Uptime: 90 * time.Second, Version: "0.1.0", Slot: "a",
				Milestones: []server.Milestone{{Name: "kernel"}, {Name: "stage1", Since: 1500 * time.Millisecond}, {Name: "api", Since: 4 * time.Second}},
			},
			{ID: "99887766-bbbb", StartedAt: at.Add(-time.Hour), End: server.BootUnclean, Uptime: 40 * time.Minute, Version: "0.1.0", Slot: "a", Reason: "power lost"},
		},
		ProcessList: []*kernelv1.Process{
			{Pid: 1, Name: "init", CommandLine: "/usr/bin/init", State: "S", Threads: 5, CpuTime: durationpb.New(1500 * time.Millisecond), ResidentBytes: 9 << 20, Cgroup: "/init"},
			{Pid: 30, ParentPid: 1, Name: "etcd", State: "S", Threads: 9, CpuTime: durationpb.New(2 * time.Minute), ResidentBytes: 64 << 20, Cgroup: "/system/etcd", StartedAt: timestamppb.New(at)},
		},
		MountList: []*kernelv1.Mount{
			{Target: "/", Type: "erofs", Source: "/dev/mapper/root", Options: "ro,relatime", Root: "/", SizeBytes: 100 << 20, UsedBytes: 100 << 20},
			{Target: "/proc", Type: "proc", Source: "proc", Options: "rw", Root: "/"},
		},
		CgroupList: []*kernelv1.Cgroup{{Path: "/system/etcd", Tasks: 9, MemoryBytes: 64 << 20, MemoryMinBytes: 32 << 20, CpuTime: durationpb.New(2 * time.Minute)}},
		StatsValue: &kernelv1.Stats{
			Time: timestamppb.New(at), Uptime: durationpb.New(time.Minute), Cpu: &kernelv1.CPUStats{Processors: 2, Load1: 0.5},
			Memory: &kernelv1.MemoryStats{TotalBytes: 4 << 30, AvailableBytes: 3 << 30}, Disks: []*kernelv1.DiskStats{{Name: "vda", ReadBytes: 1 << 20}},
		},
		CrashList: []server.Crash{{FoundBy: "4b2c9e30-aaaa", Time: at.Add(-time.Minute), Summary: "kernel panic: Fatal exception", Records: 2, SizeBytes: 3000}},
		CrashLines: map[string][]server.CrashLine{"4b2c9e30-aaaa": {
			{Level: 5, Since: new(time.Duration), Message: "Linux version 6.12.57", Record: "dmesg-efi_pstore-2"},
			{Level: 6, Message: "and \x1b[31mred", Record: "dmesg-efi_pstore-2"}, {Message: "Kernel panic - not syncing: Fatal exception", Record: "dmesg-efi_pstore-1"},
		}},
		InventoryValue: exampleInventory(),
		EventList: []server.Event{
			{Sequence: 1, Time: at, Kind: server.EventAgent, Subject: "agent", State: "started", Reason: "version 0.1.0"},
			{Sequence: 2, Time: at, Kind: server.EventHealth, Subject: "etcd", State: "ready"},
		},
		FileList: map[string][]*filev1.File{"/etc": {
			{Name: "os-release", Kind: filev1.FileKind_FILE_KIND_REGULAR, Mode: 0o644, SizeBytes: 10, ModifiedAt: timestamppb.New(at)},
			{Name: "ssl", Kind: filev1.FileKind_FILE_KIND_DIRECTORY, Mode: 0o755},
			{Name: "localtime", Kind: filev1.FileKind_FILE_KIND_LINK, Mode: 0o777, LinkTarget: "../usr/share/zoneinfo/UTC"},
		}},
		FileData: map[string]string{"/etc/os-release": "ID=cyvive\n"},
		Upgrades: servertest.Upgrades{
			Release: server.System{Version: "0.2.0", Slot: "b", RootHash: "0b"}, TrialTime: 2 * time.Second,
			Status: server.UpgradeStatus{
				Stage: server.UpgradeIdle, Running: server.System{Version: "0.1.0", Slot: "a", RootHash: "0a"}, Deadline: 10 * time.Minute,
				Gates: []server.UpgradeGate{
					{Name: "api", Holds: true, Since: at}, {Name: "etcd", Reason: "waiting for a leader", Since: at, Waived: true},
				},
			},
		},
		SBOM:            `{"spdxVersion":"SPDX-2.3"}`,
		KubeconfigValue: server.Kubeconfig{ClusterName: "demo", ExpiresAt: at, YAML: []byte(exampleKubeconfig)},
	}
}

// examplePools are a pool with a disk that failed, one that is to be made, and the node's own.
func examplePools(at time.Time) servertest.Pools {
	missing := &poolv1.Condition{Pool: "tank", Kind: "disk not found", Text: "no disk matches serial S-9", Next: "Plug the disk in, or correct its selector."}
	create := &poolv1.Operation{
		Pool: "fast", Needs: "what its disks hold is lost", Waiting: true,
		Text: "create pool fast: data mirror of Fast Disk S-1 and Fast Disk S-2; what its disks hold is lost",
	}
	return servertest.Pools{
		Last:  []string{"tank /dev/vdb1"},
		Cache: &poolv1.GetCacheResponse{SizeBytes: 300 << 20, TargetBytes: 400 << 20, MaxBytes: 512 << 20, EvictableBytes: 200 << 20, Hits: 995, Misses: 5},
		List: &poolv1.ListResponse{Reason: "pool fast: it is not imported yet", ObservedAt: timestamppb.New(at), Pools: []*poolv1.Pool{
			{
				Name: "tank", Guid: 7, Declared: true, Imported: true, State: poolv1.State_STATE_DEGRADED, SizeBytes: 8 << 30, AllocatedBytes: 1 << 30, FreeBytes: 7 << 30,
				CapacityPercent: new(uint32(12)), FragmentationPercent: new(uint32(3)), Conditions: []*poolv1.Condition{missing}, DamagedFiles: []string{"/var/lib/volumes/a\x1bb"},
				Summary: "It works, and with less redundancy than it should have. /dev/vdc1 is FAULTED: it had too many errors.",
				Next:    "Declare another disk in the place of /dev/vdc1.",
				Vdevs: []*poolv1.Vdev{{Name: "mirror-0", Type: "mirror", State: poolv1.State_STATE_DEGRADED, Children: []*poolv1.Vdev{
					{Name: "/dev/vdb1", Type: "disk", State: poolv1.State_STATE_ONLINE}, {Name: "/dev/vdc1", Type: "disk", State: poolv1.State_STATE_FAULTED, ChecksumErrors: 12},
				}}},
				Picture: "tank         DEGRADED\n└─ mirror-0  DEGRADED\n   ├─ vdb1   ONLINE\n   └─ vdc1   FAULTED   it had too many errors\n",
			},
			{Name: "fast", Declared: true, Summary: "It is not imported yet.", Next: "Confirm with the pool's name.", Waiting: []*poolv1.Operation{create}},
			{Name: "node", Guid: 9, Imported: true, Healthy: true, State: poolv1.State_STATE_ONLINE, SizeBytes: 4 << 30, Summary: "It is well.", Next: "Nothing."},
		}},
		Importable: []*poolv1.Importable{{
			Name: "old", Guid: 77, State: poolv1.State_STATE_UNAVAILABLE, Problem: "devices are missing", Destroyed: true, Missing: []string{"/dev/vdx1"},
			Message: "One or more devices are missing.",
		}},
		Plan: &poolv1.PlanResponse{
			Operations: []*poolv1.Operation{{Pool: "tank", Text: "start scrub of pool tank (7)"}, create}, Conditions: []*poolv1.Condition{missing},
		},
		Events: []*poolv1.StreamEventsResponse{
			{
				Id: 16, Time: timestamppb.New(at.Add(500 * time.Millisecond)), Class: "ereport.fs.zfs.checksum", Pool: "tank", VdevPath: "/dev/vdc1",
				Text: "a checksum was wrong: /dev/vdc1", Fields: map[string]string{"vdev_guid": "0x7"},
			},
			{Class: "dropped", Lost: 3, Text: "3 events were lost before anybody read them"},
			{Id: 17, Time: timestamppb.New(at.Add(time.Second)), Class: "sysevent.fs.zfs.scrub_finish", Pool: "tank", Text: "scrub done"},
		},
	}
}

const exampleKubeconfig = `apiVersion: v1
kind: Config
clusters:
- name: demo
  cluster: {server: "https://127.0.0.1:6443"}
users:
- name: demo
  user: {token: secret}
contexts:
- name: demo
  context: {cluster: demo, user: demo}
current-context: demo
`

// exampleReplication has a job that sends, with a decision that is open, and one that receives.
func exampleReplication() servertest.Replication {
	at := timestamppb.New(time.Date(2026, 11, 26, 4, 0, 0, 0, time.UTC))
	rollBack := &replicationv1.Decision{
		Kind: "RollBack", Target: "backup/tank/data", To: 7, Changes: true, Text: "roll backup/tank/data back to the snapshot 7, which destroys what was written since the latest snapshot",
	}
	aside := &replicationv1.Decision{
		Kind: "SetAside", Target: "backup/tank/data", Name: "backup/tank/data.aside-01", Text: "rename backup/tank/data to backup/tank/data.aside-01 and begin anew",
	}
	changed := &replicationv1.Conflict{
		Kind: "Modified", Source: "tank/data", Target: "backup/tank/data", Detail: "it was written to since its latest snapshot", Options: []*replicationv1.Decision{rollBack, aside},
	}
	return servertest.Replication{
		Jobs: []*replicationv1.Job{{
			Name: "offsite", Uuid: "2f5c7f0e-8f43-4f0a-9a3d-5b8a3b1c7e10", Sends: true, Runs: true, PeerAddress: "10.5.0.9:50000", PeerIdentity: "node2.example",
			Target: "backup", Schedule: "every 10m0s", Limit: 50 << 20, NextAt: at,
			Roots: []*replicationv1.Root{{Source: "tank/data", Target: "backup/tank/data", Role: replicationv1.Role_ROLE_PRIMARY, Generation: 2}},
			Phase: replicationv1.Phase_PHASE_BLOCKED, Reason: "a person has to decide about 1 datasets", Conflicts: []*replicationv1.Conflict{changed},
			Problem: "a person has to decide about 1 datasets, see nodectl replication status", FailingSince: timestamppb.New(time.Date(2026, 11, 26, 3, 0, 0, 0, time.UTC)),
			SucceededAt: timestamppb.New(time.Date(2026, 11, 26, 2, 50, 0, 0, time.UTC)),
			Progress: &replicationv1.Progress{
				Run: 0, Phase: "replicating", Steps: 4, StepsDone: 1, ExpectedBytes: 4 << 30, SentBytes: 1 << 30, BytesPerSecond: 100 << 20, Remaining: durationpb.New(31 * time.Second),
				Datasets: []*replicationv1.DatasetProgress{{
					Source: "tank/data/x", Target: "backup/tank/data/x", Steps: 2, State: "transferring", Reason: "transferring", ExpectedBytes: 2 << 30, SentBytes: 1 << 30,
				}},
			},
			Orphans: []string{"backup/tank/data/gone"},
		}, {
			Name: "from-node3", Uuid: "8d0f6a4e-1d39-4c53-8f51-2d1c2f3a4b5c", PeerAddress: "node3.example:50000", PeerIdentity: "node3.example", Target: "tank/in",
			Roots: []*replicationv1.Root{{Source: "data", Target: "tank/in/data", Role: replicationv1.Role_ROLE_REPLICA}}, Phase: replicationv1.Phase_PHASE_PEER,
			Reason: "the other node runs it", HeardAt: at,
		}},
		Preview: &replicationv1.PlanResponse{
			Steps: []*replicationv1.Step{
				{Kind: replicationv1.StepKind_STEP_KIND_FULL, Source: "tank/data/x", Target: "backup/tank/data/x", To: "@hourly-1", ExpectedBytes: 3 << 30},
				{Kind: replicationv1.StepKind_STEP_KIND_INCREMENTAL, Source: "tank/data/y", Target: "backup/tank/data/y", From: "#mark", To: "@hourly-2", ExpectedBytes: 1 << 30, Resumes: true},
				{Kind: replicationv1.StepKind_STEP_KIND_INCREMENTAL, Source: "tank/data/z", Target: "backup/tank/data/z", From: "@hourly-1", To: "@hourly-2"},
			},
			ExpectedBytes: 4 << 30, Unestimated: 1, Conflicts: []*replicationv1.Conflict{changed}, Orphans: []string{"backup/tank/data/gone"}, Current: 2,
		},
		Plan: &replicationv1.PlanFailoverResponse{
			Target: "tank/in", Generation: 1, Received: []*replicationv1.Received{{Dataset: "tank/in/data", Snapshot: "hourly-1", CreatedAt: at}, {Dataset: "tank/in/data/x"}},
		},
		Untold: "no route to the node",
		Verdicts: []*replicationv1.VerifyResponse{
			{Source: "tank/data", Target: "backup/tank/data", Snapshot: "hourly-1", Guid: 7, Contents: replicationv1.Contents_CONTENTS_SAME},
			{Source: "tank/data/x", Target: "backup/tank/data/x", Snapshot: "hourly-1", Behind: 2, Contents: replicationv1.Contents_CONTENTS_NOT_COMPARED, Note: "checksum of a volume"},
			{Source: "tank/data/y", Target: "backup/tank/data/y", Problem: "the replica was written to: 512 bytes"},
		},
	}
}
