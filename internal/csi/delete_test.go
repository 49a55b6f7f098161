package csi_test

import (
	"testing"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
)

// TestDeleteAnyOrder: a volume, its snapshots and volumes made of both are deleted in each order, and nothing is left when all are. What is not
// deleted stays usable.
func TestDeleteAnyOrder(t *testing.T) {
	ids := []string{"a", "a@s", "b", "c", "b@s2"}
	permute(ids, func(order []string) {
		b := newBench(t)
		b.create("a", "")
		b.take("a", "s")
		b.create("b", "", of("a@s"))
		b.create("c", "", of("a"))
		b.take("b", "s2")
		for i, id := range order {
			b.remove(id)
			b.remove(id) // again, as a call may be
			for _, other := range order[i+1:] {
				b.usable(other, i)
			}
		}
		if left := b.names(); len(left) > 0 {
			t.Fatalf("%v leaves %v", order, left)
		}
	})
}

// usable checks that a volume or snapshot is there, and one that a volume can be made of.
func (b *bench) usable(id string, round int) {
	b.t.Helper()
	if len(id) == 1 {
		if _, err := b.ControllerGetVolume(b.ctx, &spec.ControllerGetVolumeRequest{VolumeId: id}); err != nil {
			b.t.Fatalf("round %d: %v", round, err)
		}
		return
	}
	found, err := b.ListSnapshots(b.ctx, &spec.ListSnapshotsRequest{SnapshotId: id})
	b.must(err)
	if len(found.GetEntries()) != 1 {
		b.t.Fatalf("round %d: snapshot %s is not listed", round, id)
	}
	b.create("new", "", of(id))
	b.remove("new")
}

// permute calls with each order.
func permute(ids []string, call func([]string)) {
	var walk func(order, rest []string)
	walk = func(order, rest []string) {
		if len(rest) == 0 {
			call(order)
		}
		for i, id := range rest {
			left := append(append([]string{}, rest[:i]...), rest[i+1:]...)
			walk(append(append([]string{}, order...), id), left)
		}
	}
	walk(nil, ids)
}

// TestDeleteForeign: snapshots of others go with the volume, but not held ones, which have it stay until they are released.
func TestDeleteForeign(t *testing.T) {
	b := newBench(t)
	b.create("a", "", with("sparse=false"))
	for _, name := range []string{"node/plane/volumes/a@hourly", "node/plane/volumes/a@kept"} {
		b.must(b.model.Snapshot(b.ctx, []string{name}, nil))
	}
	b.must(b.model.Hold(b.ctx, "backup", "node/plane/volumes/a@kept"))
	guid := b.property("node/plane/volumes/a", "guid")
	b.remove("a")
	kept := "node/plane/volumes/_deleted/a." + guid
	if diff := cmp.Diff([]string{kept, kept + "@kept"}, b.names()); diff != "" {
		t.Fatalf("datasets (-want +got):\n%s", diff)
	}
	if got := b.property(kept, "refreservation"); got != "none" {
		t.Errorf("refreservation of a deleted volume: %s", got)
	}
	// The name is free again, and the old volume is another's business.
	b.create("a", "")
	b.must(b.model.Release(b.ctx, "backup", kept+"@kept"))
	b.remove("a")
	if left := b.names(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestTrashCut: what a power cut has kept from the file system for deleted volumes, by which others know whose it is, it gets later.
func TestTrashCut(t *testing.T) {
	b := newBench(t)
	b.create("a", "")
	b.system.Order(zfstest.Fault{Method: "Create", Bare: true, Crash: true})
	if _, err := b.CreateSnapshot(b.ctx, &spec.CreateSnapshotRequest{SourceVolumeId: "a", Name: "s"}); err == nil {
		t.Fatal("the power was not cut")
	}
	b.system.Restart()
	b.start()
	const trash, mark = "node/plane/volumes/_deleted", "dev.cyvive.csi:volume"
	if got := b.property(trash, mark); got == "_deleted" {
		t.Errorf("it was cut, and is marked %q", got)
	}
	b.take("a", "s")
	if got := b.property(trash, mark); got != "_deleted" {
		t.Errorf("it is marked %q", got)
	}
	b.remove("a", "a@s")
	if left := b.names(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestReapForeign: what somebody has given a name such as the driver's own is not taken away, and no volume is made of it.
func TestReapForeign(t *testing.T) {
	b := newBench(t)
	b.create("a", "")
	for _, name := range []string{"_mine", "_", "_clone-x", "_deleted-1", "_deleted-" + b.property("node/plane/volumes/a", "guid")} {
		b.must(b.model.Snapshot(b.ctx, []string{"node/plane/volumes/a@" + name}, nil))
	}
	for _, name := range []string{"node/plane/volumes/_deleted", "node/plane/volumes/_deleted/a.1"} {
		b.must(b.model.Create(b.ctx, name, zfs.CreateOptions{}))
	}
	b.must(b.model.Snapshot(b.ctx, []string{"node/plane/volumes/_deleted/a.1@s"}, nil))
	before := b.names()
	b.create("b", "", of("a"))
	b.take("a", "s")
	b.create("c", "", of("a@s"))
	b.remove("a@s")
	b.start() // so that it looks everywhere
	b.remove("b", "c")
	if diff := cmp.Diff(before, b.names()); diff != "" {
		t.Errorf("datasets (-want +got):\n%s", diff)
	}
	_, err := b.CreateVolume(b.ctx, request("x", "", of("a")))
	b.code("clone of a snapshot of somebody's", err, codes.FailedPrecondition)
	if diff := cmp.Diff(before, b.names()); diff != "" {
		t.Errorf("datasets after a refused clone (-want +got):\n%s", diff)
	}
}

// TestDeleteMeans: what is no volume of the driver's is not touched, whatever it is called.
func TestDeleteMeans(t *testing.T) {
	b := newBench(t)
	b.create("a", "")
	b.must(b.model.Create(b.ctx, "node/plane/volumes/mine", zfs.CreateOptions{}))
	b.must(b.model.Create(b.ctx, "node/plane/volumes/a/child", zfs.CreateOptions{}))
	b.must(b.model.Snapshot(b.ctx, []string{"node/plane/volumes/mine@s", "node/etcd@s", "node/plane/volumes/a@mine"}, nil))
	before := b.names()
	for _, id := range []string{
		"mine", "../etcd", "..", ".", "etcd", "a/child", "node/plane/volumes/a", "node/etcd", "_deleted", "a@mine", "mine@s", "../etcd@s", "a%", "a#", "-r", "a@s@t", "@", "a@", "@s",
	} {
		b.remove(id)
	}
	if diff := cmp.Diff(before, b.names()); diff != "" {
		t.Errorf("datasets (-want +got):\n%s", diff)
	}
	for _, id := range []string{"mine", "../etcd", "a/child", "_deleted"} {
		_, err := b.CreateSnapshot(b.ctx, &spec.CreateSnapshotRequest{SourceVolumeId: id, Name: "s"})
		b.code("snapshot of "+id, err, codes.NotFound)
		_, err = b.ControllerExpandVolume(b.ctx, &spec.ControllerExpandVolumeRequest{VolumeId: id, CapacityRange: &spec.CapacityRange{RequiredBytes: gib}})
		b.code("expand "+id, err, codes.NotFound)
		_, err = b.ControllerModifyVolume(b.ctx, &spec.ControllerModifyVolumeRequest{VolumeId: id, MutableParameters: map[string]string{"compression": "off"}})
		b.code("modify "+id, err, codes.NotFound)
	}
	if diff := cmp.Diff(before, b.names()); diff != "" {
		t.Errorf("datasets (-want +got):\n%s", diff)
	}
}

// TestDeleteInUse: a volume that a pod has is not taken away under it.
func TestDeleteInUse(t *testing.T) {
	for _, kind := range []string{"zfs", "ext4", "block"} {
		b := newBench(t)
		v := b.create("a", kind)
		b.must(b.stage(v, capability(kind)))
		b.must(b.publish(v, capability(kind), "p1", false))
		_, err := b.DeleteVolume(b.ctx, &spec.DeleteVolumeRequest{VolumeId: "a"})
		b.code("delete "+kind, err, codes.FailedPrecondition)
		b.must(b.unpublish(v, "p1"))
		b.must(b.unstage(v))
		b.remove("a")
	}
}
