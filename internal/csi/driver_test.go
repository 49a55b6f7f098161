package csi_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cyvive/cyvive/internal/csi"
	"github.com/cyvive/cyvive/internal/csi/csitest"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
)

func TestConfig(t *testing.T) {
	b := newBench(t)
	good := b.Config
	for name, change := range map[string]func(*csi.Config){
		"no system":            func(c *csi.Config) { c.System = nil },
		"node name":            func(c *csi.Config) { c.NodeName = "n/1" },
		"no version":           func(c *csi.Config) { c.Version = "" },
		"relative directory":   func(c *csi.Config) { c.KubeletDir = "kubelet" },
		"the root":             func(c *csi.Config) { c.KubeletDir = "/" },
		"no parent":            func(c *csi.Config) { c.Parents = nil },
		"a pool":               func(c *csi.Config) { c.Parents = []string{"node"} },
		"a snapshot":           func(c *csi.Config) { c.Parents = []string{"node/a@b"} },
		"deleted ones":         func(c *csi.Config) { c.Parents = []string{"node/plane/volumes/_deleted"} },
		"one in another":       func(c *csi.Config) { c.Parents = []string{"node/plane/volumes", "node/plane/volumes/a"} },
		"one twice":            func(c *csi.Config) { c.Parents = []string{"node/plane/volumes", "node/plane/volumes"} },
		"a long one":           func(c *csi.Config) { c.Parents = []string{"node/" + strings.Repeat("a", 80)} },
		"unknown file system":  func(c *csi.Config) { c.FileSystems = []string{"btrfs"} },
		"an option for a name": func(c *csi.Config) { c.Parents = []string{"-r/a"} },
	} {
		c := good
		change(&c)
		if _, err := csi.New(c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	good.Parents = []string{"node/plane/volumes", "node/plane/volumes2"}
	if _, err := csi.New(good); err != nil {
		t.Error(err)
	}
}

// TestCapacity: what is left, nothing elsewhere, and an error for what no volume can be.
func TestCapacity(t *testing.T) {
	b := newBench(t)
	here := map[string]string{csi.Name + "/node": "n1"}
	for _, c := range []struct {
		name string
		r    *spec.GetCapacityRequest
		want int64
	}{
		{"all", &spec.GetCapacityRequest{}, 1 << 40},
		{"here", &spec.GetCapacityRequest{AccessibleTopology: &spec.Topology{Segments: here}}, 1 << 40},
		{"elsewhere", &spec.GetCapacityRequest{AccessibleTopology: &spec.Topology{Segments: map[string]string{csi.Name + "/node": "n2"}}}, 0},
	} {
		got, err := b.GetCapacity(b.ctx, c.r)
		b.must(err)
		if got.GetAvailableCapacity() != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got.GetAvailableCapacity(), c.want)
		}
	}
	for name, r := range map[string]*spec.GetCapacityRequest{
		"unknown parent": {Parameters: map[string]string{"parent": "node"}},
		"of many nodes":  {VolumeCapabilities: []*spec.VolumeCapability{capability("", spec.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER)}},
		"a device with a file system": {
			Parameters: map[string]string{"fsType": "ext4"}, VolumeCapabilities: []*spec.VolumeCapability{capability("block")},
		},
	} {
		_, err := b.GetCapacity(b.ctx, r)
		b.code(name, err, codes.InvalidArgument)
	}
}

// TestPages: a list comes in pages, also where it changes meanwhile.
func TestPages(t *testing.T) {
	b := newBench(t)
	var want []string
	for i := range 7 {
		name := fmt.Sprintf("v%d", i)
		b.create(name, "", with("parent="+[]string{"node/plane/volumes", "tank/k8s"}[i%2]))
		want = append(want, name)
	}
	var got []string
	token := ""
	for {
		answer, err := b.ListVolumes(b.ctx, &spec.ListVolumesRequest{MaxEntries: 2, StartingToken: token})
		b.must(err)
		for _, e := range answer.GetEntries() {
			got = append(got, e.GetVolume().GetVolumeId())
		}
		if token = answer.GetNextToken(); token == "" {
			break
		}
		if len(got) == 4 {
			b.remove("v3", "v5") // the last of the page, and one that is yet to come
		}
	}
	if diff := cmp.Diff(slices.DeleteFunc(want, func(s string) bool { return s == "v5" }), got); diff != "" {
		t.Errorf("volumes (-want +got):\n%s", diff)
	}
	_, err := b.ListVolumes(b.ctx, &spec.ListVolumesRequest{MaxEntries: -1})
	b.code("negative", err, codes.InvalidArgument)
	for _, token := range []string{"x", ">", "2"} {
		_, err = b.ListSnapshots(b.ctx, &spec.ListSnapshotsRequest{StartingToken: token})
		b.code("token "+token, err, codes.Aborted)
	}
}

// TestLongTokens: the token after the longest id is one that the driver takes, with the limits of fields.
func TestLongTokens(t *testing.T) {
	b := newBench(t)
	conn, err := grpc.NewClient("unix://"+serve(t, b.Driver), grpc.WithTransportCredentials(insecure.NewCredentials()))
	b.must(err)
	defer conn.Close()
	c := spec.NewControllerClient(conn)
	var want, got []string
	for _, letter := range []string{"a", "b"} {
		long := strings.Repeat(letter, 63)
		b.create(long, "")
		want = append(want, b.take(long, long))
	}
	for token := ""; len(got) == 0 || token != ""; {
		answer, err := c.ListSnapshots(b.ctx, &spec.ListSnapshotsRequest{MaxEntries: 1, StartingToken: token})
		b.must(err)
		for _, e := range answer.GetEntries() {
			got = append(got, e.GetSnapshot().GetSnapshotId())
		}
		token = answer.GetNextToken()
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("snapshots (-want +got):\n%s", diff)
	}
}

func TestHealth(t *testing.T) {
	b := newBench(t)
	b.create("a", "")
	b.create("b", "", with("parent=tank/k8s"))
	ill := func() map[string][]string {
		answer, err := b.ControllerListVolumeHealth(b.ctx, &spec.ControllerListVolumeHealthRequest{})
		b.must(err)
		got := map[string][]string{}
		for _, h := range answer.GetEntries() {
			for _, s := range h.GetHealthStatuses() {
				got[h.GetVolumeId()] = append(got[h.GetVolumeId()], s.GetStatus().String()+" "+s.GetReason())
			}
		}
		return got
	}
	for _, c := range []struct {
		pool csi.Pool
		lost uint64
		want []string
	}{
		{csi.Pool{GUID: 12, State: "ONLINE"}, 0, nil},
		{csi.Pool{GUID: 12, State: "DEGRADED"}, 0, []string{"DEGRADED PoolDegraded"}},
		{csi.Pool{GUID: 12, State: "SUSPENDED"}, 3, []string{"INACCESSIBLE PoolUnavailable", "DATA_LOSS PoolDataErrors"}},
		{csi.Pool{}, 3, []string{"INACCESSIBLE PoolNotImported"}},
	} {
		b.pools.Put("tank", c.pool)
		b.pools.Lose("tank", c.lost)
		want := map[string][]string{}
		if c.want != nil {
			want["b"] = c.want
		}
		if diff := cmp.Diff(want, ill()); diff != "" {
			t.Errorf("%+v: volumes (-want +got):\n%s", c.pool, diff)
		}
		node, err := b.NodeGetStorageHealth(b.ctx, &spec.NodeGetStorageHealthRequest{})
		b.must(err)
		if len(node.GetBackendHealth()) != len(c.want) {
			t.Errorf("%+v: storage: %v", c.pool, node)
		}
		for _, h := range node.GetBackendHealth() {
			if n := len(h.GetMessage()); n == 0 || n > 128 {
				t.Errorf("%+v: a message of %d bytes, and CSI lets it have 128: %s", c.pool, n, h.GetMessage())
			}
		}
	}
	_, err := b.NodeGetVolumeHealth(b.ctx, &spec.NodeGetVolumeHealthRequest{VolumeId: "gone"})
	b.code("health of none", err, codes.NotFound)
}

// countedPools counts how often it is asked what runs programs.
type countedPools struct {
	*csitest.Pools
	asked int
}

func (p *countedPools) DataErrors(ctx context.Context, name string) (uint64, error) {
	p.asked++
	return p.Pools.DataErrors(ctx, name)
}

// TestHealthOfMany: each pool is asked once, and not for each volume.
func TestHealthOfMany(t *testing.T) {
	b := newBench(t)
	for i := range 6 {
		b.create(fmt.Sprintf("v%d", i), "", with("parent="+[]string{"node/plane/volumes", "tank/k8s"}[i%2]))
	}
	pools := &countedPools{Pools: b.pools}
	c := b.Config
	c.Pools = pools
	d, err := csi.New(c)
	b.must(err)
	b.pools.Lose("tank", 1)
	answer, err := d.ControllerListVolumeHealth(b.ctx, &spec.ControllerListVolumeHealthRequest{})
	b.must(err)
	if len(answer.GetEntries()) != 3 || pools.asked != 2 {
		t.Errorf("asked %d times, of 2 pools: %v", pools.asked, answer)
	}
}

// TestErrorCodes: what ZFS says has the code of the specification.
func TestErrorCodes(t *testing.T) {
	for err, want := range map[error]codes.Code{
		zfs.ErrNoSpace: codes.ResourceExhausted, zfs.ErrSuspended: codes.Unavailable, zfs.ErrBusy: codes.FailedPrecondition,
		context.DeadlineExceeded: codes.DeadlineExceeded, context.Canceled: codes.Canceled, fmt.Errorf("other"): codes.Internal,
	} {
		b := newBench(t)
		b.system.Order(zfstest.Fault{Method: "Create", Err: err})
		_, got := b.CreateVolume(b.ctx, request("a", ""))
		b.code(err.Error(), got, want)
	}
}

// TestWait: a call waits for another that has the volume, as long as its context lets it.
func TestWait(t *testing.T) {
	b := newBench(t)
	began, goOn := make(chan struct{}), make(chan struct{})
	b.system.Order(zfstest.Fault{Method: "Create", Do: func() { close(began); <-goOn }})
	first := make(chan error, 1)
	go func() {
		_, err := b.CreateVolume(b.ctx, request("a", ""))
		first <- err
	}()
	<-began
	short, stop := context.WithTimeout(b.ctx, 20*time.Millisecond)
	defer stop()
	_, err := b.CreateVolume(short, request("a", ""))
	b.code("second", err, codes.Aborted)
	_, err = b.CreateVolume(b.ctx, request("b", "")) // another is not in the way
	b.must(err)
	close(goOn)
	b.must(<-first)
}

// TestTogether: many calls at once for few names; each ends, with no code that would be a fault of the driver, and nothing is left.
func TestTogether(t *testing.T) {
	b := newBench(t)
	calls := []func(i int) error{
		func(i int) error { _, err := b.CreateVolume(b.ctx, request(fmt.Sprintf("v%d", i%3), "")); return err },
		func(i int) error {
			_, err := b.CreateVolume(b.ctx, request(fmt.Sprintf("c%d", i%3), "", of(fmt.Sprintf("v%d", (i+1)%3))))
			return err
		},
		func(i int) error {
			_, err := b.CreateSnapshot(b.ctx, &spec.CreateSnapshotRequest{Name: fmt.Sprintf("s%d", i%2), SourceVolumeId: fmt.Sprintf("v%d", i%3)})
			return err
		},
		func(i int) error { _, err := b.group("g", "v0", "v1"); return err },
		func(i int) error { return b.removeGroup("g") },
		func(i int) error {
			_, err := b.DeleteSnapshot(b.ctx, &spec.DeleteSnapshotRequest{SnapshotId: fmt.Sprintf("v%d@s%d", i%3, i%2)})
			return err
		},
		func(i int) error {
			_, err := b.DeleteVolume(b.ctx, &spec.DeleteVolumeRequest{VolumeId: fmt.Sprintf("%c%d", "vc"[i%2], i%3)})
			return err
		},
	}
	fine := []codes.Code{codes.OK, codes.NotFound, codes.AlreadyExists, codes.Aborted, codes.FailedPrecondition, codes.InvalidArgument}
	var wait sync.WaitGroup
	for worker := range 8 {
		wait.Go(func() {
			for i := range 60 {
				n := (i*7 + worker*5) % len(calls)
				if err := calls[n](i + worker); !slices.Contains(fine, codeOf(err)) {
					t.Errorf("call %d: %v", n, err)
				}
			}
		})
	}
	wait.Wait()
	b.start()
	b.clear("together")
}

// TestServer: the limits of fields are kept for all calls, and a driver that stops lets a call end.
func TestServer(t *testing.T) {
	b := newBench(t)
	conn, err := grpc.NewClient("unix://"+serve(t, b.Driver), grpc.WithTransportCredentials(insecure.NewCredentials()))
	b.must(err)
	defer conn.Close()
	c := spec.NewControllerClient(conn)
	long := strings.Repeat("a", 129)
	_, err = c.CreateVolume(b.ctx, request(long, ""))
	b.code("long name", err, codes.InvalidArgument)
	_, err = c.CreateVolume(b.ctx, request("a", long))
	b.code("long field in a list", err, codes.InvalidArgument)
	many := map[string]string{}
	for i := range 100 {
		many[fmt.Sprint("csi.storage.k8s.io/", i)] = strings.Repeat("a", 50)
	}
	r := request("a", "")
	r.Parameters = many
	_, err = c.CreateVolume(b.ctx, r)
	b.code("large map", err, codes.InvalidArgument)
	_, err = spec.NewNodeClient(conn).NodeUnpublishVolume(b.ctx, &spec.NodeUnpublishVolumeRequest{
		VolumeId: "a", TargetPath: csi.KubeletDir + strings.Repeat("/a", 1000),
	})
	b.must(err)
	probe, err := spec.NewIdentityClient(conn).Probe(b.ctx, &spec.ProbeRequest{})
	b.must(err)
	if !probe.GetReady().GetValue() {
		t.Error("not ready")
	}
	for missing, want := range []bool{true, true, false} { // of two parents
		for range missing {
			b.system.Order(zfstest.Fault{Method: "List", Err: zfs.ErrNotExist})
		}
		probe, err = b.Probe(b.ctx, &spec.ProbeRequest{})
		b.must(err)
		if probe.GetReady().GetValue() != want {
			t.Errorf("%d parents of volumes are not there: ready is not %t", missing, want)
		}
	}
}

// TestCallers: what is not for a caller is not there for it.
func TestCallers(t *testing.T) {
	b := newBench(t)
	for callers, want := range map[csi.Callers]struct{ create, stage codes.Code }{
		csi.Kubelet: {codes.Unimplemented, codes.InvalidArgument}, csi.Controllers: {codes.InvalidArgument, codes.Unimplemented},
		csi.Kubelet | csi.Controllers: {codes.InvalidArgument, codes.InvalidArgument}, 0: {codes.Unimplemented, codes.Unimplemented},
	} {
		conn, err := grpc.NewClient("unix://"+serveTo(t, b.Driver, callers), grpc.WithTransportCredentials(insecure.NewCredentials()))
		b.must(err)
		defer conn.Close()
		what := fmt.Sprintf("callers %b: ", callers)
		_, err = spec.NewControllerClient(conn).CreateVolume(b.ctx, &spec.CreateVolumeRequest{})
		b.code(what+"CreateVolume", err, want.create)
		_, err = spec.NewGroupControllerClient(conn).CreateVolumeGroupSnapshot(b.ctx, &spec.CreateVolumeGroupSnapshotRequest{})
		b.code(what+"CreateVolumeGroupSnapshot", err, want.create)
		node := spec.NewNodeClient(conn)
		_, err = node.NodeStageVolume(b.ctx, &spec.NodeStageVolumeRequest{})
		b.code(what+"NodeStageVolume", err, want.stage)
		info, err := node.NodeGetInfo(b.ctx, &spec.NodeGetInfoRequest{})
		b.must(err)
		capabilities, err := node.NodeGetCapabilities(b.ctx, &spec.NodeGetCapabilitiesRequest{})
		b.must(err)
		if info.GetNodeId() != "n1" || len(capabilities.GetCapabilities()) == 0 {
			t.Errorf("%sthe node is %v, with %v", what, info, capabilities)
		}
	}
}

// TestKubeletGrowsNothing: at kubelet's socket a volume gets no larger than it was made at the other, and its file system as large as that.
func TestKubeletGrowsNothing(t *testing.T) {
	b := newBench(t)
	v := b.create("a", "ext4")
	b.must(b.stage(v, capability("ext4")))
	b.must(b.publish(v, capability("ext4"), "p1", false))
	conn, err := grpc.NewClient("unix://"+serveTo(t, b.Driver, csi.Kubelet), grpc.WithTransportCredentials(insecure.NewCredentials()))
	b.must(err)
	defer conn.Close()
	expand := func(bytes int64) error {
		_, err := spec.NewNodeClient(conn).NodeExpandVolume(b.ctx, &spec.NodeExpandVolumeRequest{
			VolumeId: "a", VolumePath: csi.KubeletDir + "/pods/p1/mount", CapacityRange: &spec.CapacityRange{RequiredBytes: bytes},
		})
		return err
	}
	b.code("more than it has", expand(gib), codes.OutOfRange)
	b.must(expand(64 * mib))
	if got := b.property("node/plane/volumes/a", "volsize"); got != "67108864" {
		t.Errorf("size: %s", got)
	}
	_, err = b.ControllerExpandVolume(b.ctx, &spec.ControllerExpandVolumeRequest{VolumeId: "a", CapacityRange: &spec.CapacityRange{RequiredBytes: gib}})
	b.must(err)
	b.must(expand(gib))
	if got := b.mounts.FileSystemBytes("node/plane/volumes/a"); got != gib {
		t.Errorf("file system: %d bytes", got)
	}
}

// TestPoolAway: while a pool is not imported, the others go on; nothing is made in it, and nothing that may be in it counts as deleted.
func TestPoolAway(t *testing.T) {
	b := newBench(t)
	b.create("a", "")
	c := b.Config
	c.Parents = []string{"node/plane/volumes", "away/volumes"}
	d, err := csi.New(c)
	b.must(err)
	b.Driver = d
	b.take("a", "s")
	for _, id := range []string{"gone", "gone@s"} {
		_, err = b.DeleteVolume(b.ctx, &spec.DeleteVolumeRequest{VolumeId: id})
		b.code("delete volume "+id, err, codes.Unavailable)
		_, err = b.DeleteSnapshot(b.ctx, &spec.DeleteSnapshotRequest{SnapshotId: id})
		b.code("delete snapshot "+id, err, codes.Unavailable)
	}
	b.code("delete group", b.removeGroup("gone"), codes.Unavailable)
	_, err = b.CreateVolume(b.ctx, request("c", "", with("parent=away/volumes")))
	b.code("create", err, codes.Unavailable)
	room, err := b.GetCapacity(b.ctx, &spec.GetCapacityRequest{Parameters: map[string]string{"parent": "away/volumes"}})
	b.must(err)
	if got := room.GetAvailableCapacity(); got != 0 {
		t.Errorf("capacity of a pool that is not imported: %d", got)
	}
	list, err := b.ListVolumes(b.ctx, &spec.ListVolumesRequest{})
	b.must(err)
	if len(list.GetEntries()) != 1 {
		t.Errorf("listed: %v", list)
	}
	info, err := b.NodeGetInfo(b.ctx, &spec.NodeGetInfoRequest{})
	b.must(err)
	want := map[string]string{csi.Name + "/node": "n1", csi.Name + "/pool-11": "imported"}
	if diff := cmp.Diff(want, info.GetAccessibleTopology().GetSegments()); diff != "" {
		t.Errorf("topology (-want +got):\n%s", diff)
	}
	b.remove("a@s", "a")
	b.pools.Put("away", csi.Pool{GUID: 13, State: "ONLINE"})
	b.remove("gone", "gone@s")
}

// TestPoolNotForVolumes: what is in a pool that is not for volumes now does not count as deleted, and what it does not have is not kept from that by others.
func TestPoolNotForVolumes(t *testing.T) {
	b := newBench(t)
	b.create("a", "", with("parent=tank/k8s"))
	b.take("a", "s")
	b.create("deleted", "", with("parent=tank/k8s"))
	b.take("deleted", "kept")
	b.remove("deleted")
	c := b.Config
	c.Parents, c.Away = []string{"node/plane/volumes"}, func() []string { return []string{"tank/k8s", "tank/volumes"} }
	var err error
	b.Driver, err = csi.New(c)
	b.must(err)
	before := b.names()
	stays := func(what string) {
		t.Helper()
		_, err := b.DeleteVolume(b.ctx, &spec.DeleteVolumeRequest{VolumeId: "a"})
		b.code("delete volume, "+what, err, codes.Unavailable)
		_, err = b.DeleteSnapshot(b.ctx, &spec.DeleteSnapshotRequest{SnapshotId: "a@s"})
		b.code("delete snapshot, "+what, err, codes.Unavailable)
		_, err = b.DeleteSnapshot(b.ctx, &spec.DeleteSnapshotRequest{SnapshotId: "deleted@kept"})
		b.code("delete snapshot of a deleted volume, "+what, err, codes.Unavailable)
		b.code("delete group, "+what, b.removeGroup("g"), codes.Unavailable)
	}
	stays("pool is not for volumes")
	b.remove("other", "other@s")
	b.pools.Put("tank", csi.Pool{})
	stays("pool is exported")
	if diff := cmp.Diff(before, b.names()); diff != "" {
		t.Errorf("datasets (-want +got):\n%s", diff)
	}
	b.pools.Put("tank", csi.Pool{GUID: 12, State: "ONLINE"})
	b.start()
	b.remove("a@s", "a", "deleted@kept")
	b.Driver, err = csi.New(c)
	b.must(err)
	b.remove("a@s", "a", "deleted@kept")
	b.must(b.removeGroup("g"))
}

// TestPoolComes: a pool comes to be for volumes while the driver runs. What is in it is found, whatever is under way meanwhile.
func TestPoolComes(t *testing.T) {
	b := newBench(t)
	b.create("a", "", with("parent=tank/k8s"))
	var comes bool
	pick := func(of bool) func() []string {
		return func() []string {
			if comes == of {
				return []string{"tank/k8s"}
			}
			return nil
		}
	}
	c := b.Config
	c.Parents, c.More, c.Away = []string{"node/plane/volumes"}, pick(true), pick(false)
	var err error
	b.Driver, err = csi.New(c)
	b.must(err)
	_, err = b.CreateVolume(b.ctx, request("b", "", with("parent=tank/k8s")))
	b.code("create before", err, codes.InvalidArgument)
	// It is looked for in the one pool when the other comes.
	b.system.Order(zfstest.Fault{Method: "List", Do: func() { comes = true }})
	_, err = b.DeleteVolume(b.ctx, &spec.DeleteVolumeRequest{VolumeId: "a"})
	b.code("delete meanwhile", err, codes.Unavailable)
	b.create("b", "", with("parent=tank/k8s"))
	info, err := b.NodeGetInfo(b.ctx, &spec.NodeGetInfoRequest{})
	b.must(err)
	want := map[string]string{csi.Name + "/node": "n1", csi.Name + "/pool-11": "imported", csi.Name + "/pool-12": "imported"}
	if diff := cmp.Diff(want, info.GetAccessibleTopology().GetSegments()); diff != "" {
		t.Errorf("topology (-want +got):\n%s", diff)
	}
	b.remove("a", "b")
	if left := b.names(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestPoolGoes: a volume of which the pool goes while it is asked about is neither deleted nor never made.
func TestPoolGoes(t *testing.T) {
	b := newBench(t)
	b.create("a", "")
	b.pools.Put("node", csi.Pool{})
	_, err := b.ControllerGetVolume(b.ctx, &spec.ControllerGetVolumeRequest{VolumeId: "a"})
	b.code("get", err, codes.Unavailable)
	_, err = b.CreateVolume(b.ctx, request("a", ""))
	b.code("create", err, codes.Unavailable)
	_, err = b.ListVolumes(b.ctx, &spec.ListVolumesRequest{})
	b.code("list", err, codes.Unavailable)
}

// TestModify: a class of attributes changes what may be changed, and what was asked for is only that.
func TestModify(t *testing.T) {
	b := newBench(t)
	b.create("a", "")
	b.create("d", "block")
	for _, c := range []struct {
		id, name, value string
		want            codes.Code
	}{
		{"a", "compression", "zstd", codes.OK}, {"a", "recordsize", "65536", codes.OK}, {"d", "logbias", "throughput", codes.OK},
		{"d", "recordsize", "65536", codes.InvalidArgument}, {"d", "volblocksize", "65536", codes.InvalidArgument}, {"a", "parent", "tank/k8s", codes.InvalidArgument},
		{"a", "sparse", "false", codes.InvalidArgument}, {"a", "refquota", "none", codes.InvalidArgument}, {"gone", "compression", "off", codes.NotFound},
	} {
		_, err := b.ControllerModifyVolume(b.ctx, &spec.ControllerModifyVolumeRequest{VolumeId: c.id, MutableParameters: map[string]string{c.name: c.value}})
		b.code(c.id+" "+c.name, err, c.want)
		if c.want == codes.OK {
			if got := b.property("node/plane/volumes/"+c.id, c.name); got != c.value {
				t.Errorf("%s of %s: got %s", c.name, c.id, got)
			}
		}
	}
}
