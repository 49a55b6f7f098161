package csi_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cyvive/cyvive/internal/csi"
	"github.com/cyvive/cyvive/internal/csi/csitest"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// bench is a driver on a machine in memory.
type bench struct {
	*csi.Driver
	t      *testing.T
	ctx    context.Context
	model  *zfstest.Model
	system *zfstest.Faulty
	mounts *csitest.Mounts
	pools  *csitest.Pools
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, ctx: t.Context(), model: zfstest.New("n1", "node", "tank"), pools: &csitest.Pools{}}
	b.system = &zfstest.Faulty{System: b.model}
	b.mounts = csitest.NewMounts(b.model)
	b.pools.Put("node", csi.Pool{GUID: 11, State: "ONLINE"})
	b.pools.Put("tank", csi.Pool{GUID: 12, State: "ONLINE"})
	for _, name := range []string{"node/plane", "node/plane/volumes", "node/etcd", "tank/k8s"} {
		b.must(b.model.Create(b.ctx, name, zfs.CreateOptions{}))
	}
	b.start()
	return b
}

// start makes a driver, as after a crash.
func (b *bench) start() {
	b.t.Helper()
	d, err := csi.New(csi.Config{
		NodeName: "n1", Version: "1.0.0", Parents: []string{"node/plane/volumes", "tank/k8s"}, FileSystems: []string{"ext4", "xfs"},
		System: b.system, Mounts: b.mounts, Pools: b.pools,
	})
	b.must(err)
	b.Driver = d
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// code checks the code of an error, and that it has words.
func (b *bench) code(what string, err error, want codes.Code) {
	b.t.Helper()
	if got := status.Code(err); got != want {
		b.t.Errorf("%s: got %v (%v), want %v", what, got, err, want)
	}
	if err != nil && status.Convert(err).Message() == "" {
		b.t.Errorf("%s: %v says nothing", what, err)
	}
}

// capability is one of a mode, of a file system ("" for any) or "block".
func capability(fileSystem string, mode ...spec.VolumeCapability_AccessMode_Mode) *spec.VolumeCapability {
	c := &spec.VolumeCapability{AccessMode: &spec.VolumeCapability_AccessMode{Mode: spec.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER}}
	if len(mode) > 0 {
		c.AccessMode.Mode = mode[0]
	}
	c.AccessType = &spec.VolumeCapability_Mount{Mount: &spec.VolumeCapability_MountVolume{FsType: fileSystem}}
	if fileSystem == "block" {
		c.AccessType = &spec.VolumeCapability_Block{Block: &spec.VolumeCapability_BlockVolume{}}
	}
	return c
}

// request asks for a volume of 64 MiB.
func request(name, fileSystem string, change ...func(*spec.CreateVolumeRequest)) *spec.CreateVolumeRequest {
	r := &spec.CreateVolumeRequest{
		Name: name, VolumeCapabilities: []*spec.VolumeCapability{capability(fileSystem)}, CapacityRange: &spec.CapacityRange{RequiredBytes: 64 * mib},
	}
	for _, c := range change {
		c(r)
	}
	return r
}

// with sets parameters.
func with(parameters ...string) func(*spec.CreateVolumeRequest) {
	return func(r *spec.CreateVolumeRequest) {
		r.Parameters = map[string]string{}
		for _, p := range parameters {
			name, value, _ := strings.Cut(p, "=")
			r.Parameters[name] = value
		}
	}
}

// sized sets the capacity.
func sized(least, most int64) func(*spec.CreateVolumeRequest) {
	return func(r *spec.CreateVolumeRequest) {
		r.CapacityRange = &spec.CapacityRange{RequiredBytes: least, LimitBytes: most}
	}
}

// of sets the source, a volume or a snapshot.
func of(id string) func(*spec.CreateVolumeRequest) {
	return func(r *spec.CreateVolumeRequest) {
		r.VolumeContentSource = &spec.VolumeContentSource{Type: &spec.VolumeContentSource_Volume{Volume: &spec.VolumeContentSource_VolumeSource{VolumeId: id}}}
		if strings.Contains(id, "@") {
			s := &spec.VolumeContentSource_SnapshotSource{SnapshotId: id}
			r.VolumeContentSource = &spec.VolumeContentSource{Type: &spec.VolumeContentSource_Snapshot{Snapshot: s}}
		}
	}
}

// create makes a volume and returns it.
func (b *bench) create(name, fileSystem string, change ...func(*spec.CreateVolumeRequest)) *spec.Volume {
	b.t.Helper()
	answer, err := b.CreateVolume(b.ctx, request(name, fileSystem, change...))
	b.must(err)
	return answer.GetVolume()
}

// take makes a snapshot and returns its id.
func (b *bench) take(volume, name string) string {
	b.t.Helper()
	answer, err := b.CreateSnapshot(b.ctx, &spec.CreateSnapshotRequest{SourceVolumeId: volume, Name: name})
	b.must(err)
	return answer.GetSnapshot().GetSnapshotId()
}

// remove deletes volumes and snapshots, by their ids.
func (b *bench) remove(ids ...string) {
	b.t.Helper()
	for _, id := range ids {
		var err error
		if strings.Contains(id, "@") {
			_, err = b.DeleteSnapshot(b.ctx, &spec.DeleteSnapshotRequest{SnapshotId: id})
		} else {
			_, err = b.DeleteVolume(b.ctx, &spec.DeleteVolumeRequest{VolumeId: id})
		}
		b.must(err)
	}
}

// names are all datasets and snapshots below the parents, without these; a file system for deleted volumes that is empty is left out.
func (b *bench) names() []string {
	b.t.Helper()
	parents := []string{"node/plane/volumes", "tank/k8s"}
	found, err := b.model.List(b.ctx, zfs.Query{Roots: parents, Depth: -1})
	b.must(err)
	names := []string{}
	for _, d := range found {
		if name := d.Name; !slices.Contains(parents, name) && !strings.HasSuffix(name, "/_deleted") {
			names = append(names, name)
		}
	}
	return names
}

// property is one of a dataset.
func (b *bench) property(name, property string) string {
	b.t.Helper()
	found, err := b.model.List(b.ctx, zfs.Query{Roots: []string{name}, Properties: []string{property}})
	b.must(err)
	return found[0].Properties[property].Value
}

// stage stages a volume on a path of its own, and publishes it for a pod.
func (b *bench) stage(v *spec.Volume, c *spec.VolumeCapability) error {
	dir := "plugins/" + v.GetVolumeId()
	b.mounts.MakeDirectory(dir)
	_, err := b.NodeStageVolume(b.ctx, &spec.NodeStageVolumeRequest{
		VolumeId: v.GetVolumeId(), StagingTargetPath: csi.KubeletDir + "/" + dir, VolumeCapability: c, VolumeContext: v.GetVolumeContext(),
	})
	return err
}

func (b *bench) publish(v *spec.Volume, c *spec.VolumeCapability, pod string, readOnly bool) error {
	b.mounts.MakeDirectory("pods/" + pod)
	_, err := b.NodePublishVolume(b.ctx, &spec.NodePublishVolumeRequest{
		VolumeId: v.GetVolumeId(), StagingTargetPath: csi.KubeletDir + "/plugins/" + v.GetVolumeId(), TargetPath: csi.KubeletDir + "/pods/" + pod + "/mount",
		VolumeCapability: c, VolumeContext: v.GetVolumeContext(), Readonly: readOnly,
	})
	return err
}

func (b *bench) unpublish(v *spec.Volume, pod string) error {
	_, err := b.NodeUnpublishVolume(b.ctx, &spec.NodeUnpublishVolumeRequest{VolumeId: v.GetVolumeId(), TargetPath: csi.KubeletDir + "/pods/" + pod + "/mount"})
	return err
}

func (b *bench) unstage(v *spec.Volume) error {
	_, err := b.NodeUnstageVolume(b.ctx, &spec.NodeUnstageVolumeRequest{
		VolumeId: v.GetVolumeId(), StagingTargetPath: csi.KubeletDir + "/plugins/" + v.GetVolumeId(),
	})
	return err
}
