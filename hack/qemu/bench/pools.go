package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"

	datasetv1 "github.com/cyvive/cyvive/api/proto/dataset/v1"
	poolv1 "github.com/cyvive/cyvive/api/proto/pool/v1"
	snapshotv1 "github.com/cyvive/cyvive/api/proto/snapshot/v1"
	"github.com/cyvive/cyvive/hack/qemu/cluster"
	"github.com/cyvive/cyvive/hack/qemu/probe"
	"github.com/cyvive/cyvive/internal/machined/config"
)

// Pools are the figures of ZFS on a node without a cluster, with a pool that is declared: a mirror of two disks, and a spare.
type Pools struct {
	// Datasets are declared, and MachinedBytes is the agent's memory with them; MachinedBytesBefore with the pool alone.
	Datasets            int   `json:"datasets"`
	MachinedBytesBefore int64 `json:"machinedBytesBefore"`
	MachinedBytes       int64 `json:"machinedBytes"`
	// Snapshots are those of the datasets. ListSeconds is what the API takes to list them, PlanSeconds to judge each by a schedule, and ProgramSeconds what one zfs
	// list of their names takes on the node. MachinedPeakBytes and ProgramPeakBytes are the most memory that each took.
	Snapshots         int     `json:"snapshots"`
	ListSeconds       float64 `json:"listSeconds"`
	PlanSeconds       float64 `json:"planSeconds"`
	ProgramSeconds    float64 `json:"programSeconds"`
	MachinedPeakBytes int64   `json:"machinedPeakBytes"`
	ProgramPeakBytes  int64   `json:"programPeakBytes"`
	// SpareSeconds are from when a disk of the mirror is pulled, under a writer, until the resilver of the spare begins.
	SpareSeconds float64 `json:"spareSeconds"`
}

const (
	benchPool      = "tank"
	benchDiskBytes = 2 << 30
	// benchDatasets, the writer's and the pool's own have more than ten thousand snapshots after benchRounds.
	benchDatasets = 200
	benchRounds   = 50
	// poolsTimeout is for all of it, on emulated processors.
	poolsTimeout = 90 * time.Minute
	// writtenFirst is how long a disk is written to before it is pulled.
	writtenFirst = 5 * time.Second
	// answerBytes is what one answer may have; gRPC has 4 MiB, which ten thousand snapshots need not come to.
	answerBytes = 64 << 20
)

// benchPools declares the pool, and a dataset where the writer writes: the node has /var/mnt/data as benchDir.
const (
	benchPools = `apiVersion: cyvive.dev/v1alpha1
kind: Pool
name: tank
data: [{layout: mirror, disks: [{serial: one}, {serial: two}]}]
spares: [{serial: three}]
---
apiVersion: cyvive.dev/v1alpha1
kind: Dataset
name: tank/data
properties: {mountpoint: /var/mnt/data, sync: always}
`
	benchSchedule = `apiVersion: cyvive.dev/v1alpha1
kind: SnapshotSchedule
name: bench
datasets: [{name: tank}]
keep: {last: 10000}
`
	benchRoot = "/proc/1/root"
	benchDir  = "/var/plane/mnt/data"
)

// poolNode is the node, and what is measured of it.
type poolNode struct {
	*traveller
	o     Options
	conn  *grpc.ClientConn
	probe *probe.Client
	found Pools
}

func (o Options) pools(ctx context.Context) (*Pools, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, poolsTimeout, fmt.Errorf("pools took longer than %s", poolsTimeout))
	defer cancel()
	t, err := o.traveller(ctx, "bench-pools", func(c *cluster.Options) {
		c.MemoryBytes, c.Probe = lifeMemoryBytes, o.Cluster.Probe
		for _, serial := range []string{"one", "two", "three"} {
			c.Empty = append(c.Empty, cluster.EmptyDisk{Serial: serial, SizeBytes: benchDiskBytes})
		}
	}, func(cfg *config.Config) { cfg.Cluster = nil })
	if err != nil {
		return nil, err
	}
	defer t.close(ctx)
	n := &poolNode{traveller: t, o: o}
	if n.conn, err = t.api.dial(); err != nil {
		return nil, err
	}
	defer n.conn.Close()
	if n.probe, err = t.Probe(ctx, t.Nodes()[0]); err != nil {
		return nil, err
	}
	defer n.probe.Close()
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{{"a mirror and a spare", n.makePool}, {"datasets", n.makeDatasets}, {"snapshots", n.makeSnapshots}, {"a disk is pulled", n.pullDisk}} {
		o.say("pools: %s", step.name)
		if err := step.do(ctx); err != nil {
			return &n.found, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return &n.found, nil
}

// apply changes the configuration by a patch.
func (n *poolNode) apply(ctx context.Context, patch string) error {
	path := filepath.Join(n.NodeDir(n.Nodes()[0]), "patch.yaml")
	if err := os.WriteFile(path, []byte(patch), 0o600); err != nil {
		return err
	}
	_, err := n.Tools().Nodectl(ctx, "config", "apply", "--patch", path)
	return err
}

func (n *poolNode) makePool(ctx context.Context) error {
	if err := n.apply(ctx, benchPools); err != nil {
		return err
	}
	_, err := await(ctx, "the pool", func(ctx context.Context) error {
		mounts, err := n.probe.Read(ctx, "/proc/1/mounts")
		if err == nil && !strings.Contains(mounts, benchPool+"/data "+benchDir+" ") {
			err = fmt.Errorf("%s/data is not mounted", benchPool)
		}
		return err
	})
	return err
}

func (n *poolNode) makeDatasets(ctx context.Context) (err error) {
	if err := rest(ctx, memorySettle); err != nil {
		return err
	}
	if n.found.MachinedBytesBefore, err = residentBytes(ctx, n.probe, machined); err != nil {
		return err
	}
	var documents []string
	for i := range benchDatasets {
		documents = append(documents, fmt.Sprintf("apiVersion: cyvive.dev/v1alpha1\nkind: Dataset\nname: %s/d%03d\n", benchPool, i))
	}
	if err := n.apply(ctx, strings.Join(documents, "---\n")); err != nil {
		return err
	}
	_, err = await(ctx, "the datasets", func(ctx context.Context) error {
		list, err := datasetv1.NewDatasetServiceClient(n.conn).List(ctx, &datasetv1.ListRequest{Root: benchPool})
		if n.found.Datasets = len(list.GetDatasets()); err == nil && n.found.Datasets < benchDatasets+2 { // the pool's own, and the writer's
			err = fmt.Errorf("there are %d of %d", n.found.Datasets, benchDatasets+2)
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := rest(ctx, memorySettle); err != nil {
		return err
	}
	n.found.MachinedBytes, err = residentBytes(ctx, n.probe, machined)
	return err
}

func (n *poolNode) makeSnapshots(ctx context.Context) error {
	client := snapshotv1.NewSnapshotServiceClient(n.conn)
	// By their names they are the schedule's, which keeps them all.
	first := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range benchRounds {
		name := "bench-" + first.Add(time.Duration(i)*time.Minute).Format("20060102T150405Z")
		if _, err := client.Create(ctx, &snapshotv1.CreateRequest{Datasets: []string{benchPool}, Name: name, Recursive: true}); err != nil {
			return err
		}
	}
	if err := n.apply(ctx, benchSchedule); err != nil {
		return err
	}
	if err := n.settle(ctx, client); err != nil {
		return err
	}
	if err := n.forgetPeak(ctx); err != nil {
		return err
	}
	began := time.Now()
	list, err := client.List(ctx, &snapshotv1.ListRequest{Dataset: benchPool, Recursive: true}, grpc.MaxCallRecvMsgSize(answerBytes))
	if err != nil {
		return err
	}
	n.found.ListSeconds, n.found.Snapshots = time.Since(began).Seconds(), len(list.GetSnapshots())
	if err := n.plan(ctx, client); err != nil {
		return err
	}
	if n.found.MachinedPeakBytes, err = n.peak(ctx); err != nil {
		return err
	}
	return n.program(ctx)
}

// settle waits until the schedule's own loop has listed the snapshots: it does so at once, and again some minutes later, and with both processors at it what is
// measured meanwhile would be of two lists. From then on all of them find the same in memory, too.
func (n *poolNode) settle(ctx context.Context, client snapshotv1.SnapshotServiceClient) error {
	const all = benchRounds * (benchDatasets + 2) // the pool's own, and the writer's
	for {
		if err := rest(ctx, memorySettle); err != nil {
			return fmt.Errorf("wait until the schedule has listed %d snapshots: %w", all, err)
		}
		preview, err := client.PreviewPrune(ctx, &snapshotv1.PreviewPruneRequest{}, grpc.MaxCallRecvMsgSize(answerBytes))
		if err != nil {
			return err
		}
		for _, s := range preview.GetSchedules() {
			if s.GetSnapshots() >= all {
				return nil
			}
		}
		n.o.say("pools: wait until the schedule has listed %d snapshots", all)
	}
}

// plan has the snapshots judged, until the schedule is in force.
func (n *poolNode) plan(ctx context.Context, client snapshotv1.SnapshotServiceClient) error {
	for {
		began := time.Now()
		preview, err := client.PreviewPrune(ctx, &snapshotv1.PreviewPruneRequest{}, grpc.MaxCallRecvMsgSize(answerBytes))
		if err != nil {
			return err
		}
		if len(preview.GetVerdicts()) >= n.found.Snapshots {
			n.found.PlanSeconds = time.Since(began).Seconds()
			return nil
		}
		if err := rest(ctx, time.Second); err != nil {
			return fmt.Errorf("wait until %d snapshots are judged, of which %d are: %w", n.found.Snapshots, len(preview.GetVerdicts()), err)
		}
	}
}

// loaders start the programs of a node's root where that is not the root: the probe's own has no libraries.
var loaders = map[string][]string{
	"amd64": {benchRoot + "/usr/lib64/ld-linux-x86-64.so.2", "--library-path", benchRoot + "/usr/lib/x86_64-linux-gnu"},
	"arm64": {benchRoot + "/usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1", "--library-path", benchRoot + "/usr/lib/aarch64-linux-gnu"},
}

// program lists the snapshots by the program alone.
func (n *poolNode) program(ctx context.Context) error {
	loader := loaders[n.o.Cluster.Arch]
	if loader == nil {
		return fmt.Errorf("list by the program: the loader of %s is not known", n.o.Cluster.Arch)
	}
	args := append(loader[1:len(loader):len(loader)], benchRoot+"/usr/bin/zfs", "list", "-H", "-p", "-t", "snapshot", "-r", "-o", "name,guid,creation,used,referenced", benchPool)
	began := time.Now()
	out, peak, err := n.probe.Measure(ctx, loader[0], args...)
	if err != nil {
		return err
	}
	if lines := strings.Count(out, "\n"); lines != n.found.Snapshots {
		return fmt.Errorf("list by the program: it has %d snapshots, and the API %d", lines, n.found.Snapshots)
	}
	n.found.ProgramSeconds, n.found.ProgramPeakBytes = time.Since(began).Seconds(), peak
	return nil
}

// pullDisk pulls a disk while files are written. It is the last that is measured: the probe is of no use any more when the writer has been ended.
func (n *poolNode) pullDisk(ctx context.Context) error {
	m, err := n.machine()
	if err != nil {
		return err
	}
	watching, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	// Those of before are left out: a thousand would come first, and be read only when the disk has been pulled.
	events, err := poolv1.NewPoolServiceClient(n.conn).StreamEvents(watching, &poolv1.StreamEventsRequest{Follow: true, Tail: new(uint32)})
	if err != nil {
		return err
	}
	wrote := make(chan error, 1)
	go func() {
		err := n.write(watching)
		if err != nil {
			stop(err) // without a writer nobody may notice the disk, and no event come
		}
		wrote <- err
	}()
	if err := rest(ctx, writtenFirst); err != nil {
		return err
	}
	pulled := time.Now()
	if err := m.PullDisk(ctx, "two"); err != nil {
		return err
	}
	for {
		e, err := events.Recv()
		if err != nil {
			return errors.Join(context.Cause(watching), err)
		}
		if e.GetPool() == benchPool && e.GetClass() == "sysevent.fs.zfs.resilver_start" {
			break
		}
	}
	n.found.SpareSeconds = time.Since(pulled).Seconds()
	stop(nil)
	return <-wrote
}

// write writes files until ctx ends.
func (n *poolNode) write(ctx context.Context) error {
	data := make([]byte, 32<<10)
	for i := 0; ; i++ {
		if err := n.probe.Write(ctx, fmt.Sprintf("%s%s/%d", benchRoot, benchDir, i%100), data); err != nil && ctx.Err() == nil {
			return fmt.Errorf("write while a disk is pulled: %w", err)
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// agent is the folder of the agent's process.
func (n *poolNode) agent(ctx context.Context) (string, error) {
	all, err := n.probe.Processes(ctx)
	if err != nil {
		return "", err
	}
	for _, p := range all {
		if programName(p.Args) == machined {
			return fmt.Sprintf("/proc/%d", p.PID), nil
		}
	}
	return "", fmt.Errorf("find process %s: none runs", machined)
}

// forgetPeak has the kernel forget the most memory that the agent took (proc_pid_clear_refs(5), 5; Linux 4.0).
func (n *poolNode) forgetPeak(ctx context.Context) error {
	dir, err := n.agent(ctx)
	if err != nil {
		return err
	}
	return n.probe.Write(ctx, dir+"/clear_refs", []byte("5"))
}

// peak is the most memory that the agent took since forgetPeak.
func (n *poolNode) peak(ctx context.Context) (int64, error) {
	dir, err := n.agent(ctx)
	if err != nil {
		return 0, err
	}
	status, err := n.probe.Read(ctx, dir+"/status")
	if err != nil {
		return 0, err
	}
	return parsePeak(status)
}

// parsePeak reads VmHWM of proc_pid_status(5), which is in kB.
func parsePeak(status string) (int64, error) {
	for line := range strings.Lines(status) {
		text, found := strings.CutPrefix(line, "VmHWM:")
		if !found {
			continue
		}
		kilobytes, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(text), "kB")), 10, 50)
		if err != nil || kilobytes < 0 {
			return 0, fmt.Errorf("read memory of a process: %q is no size in kB", strings.TrimSpace(line))
		}
		return kilobytes << 10, nil
	}
	return 0, fmt.Errorf("read memory of a process: there is no VmHWM in %.200q", status)
}
