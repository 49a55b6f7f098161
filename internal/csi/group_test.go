package csi_test

import (
	"testing"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
)

func (b *bench) group(name string, ids ...string) (*spec.VolumeGroupSnapshot, error) {
	answer, err := b.CreateVolumeGroupSnapshot(b.ctx, &spec.CreateVolumeGroupSnapshotRequest{Name: name, SourceVolumeIds: ids})
	return answer.GetGroupSnapshot(), err
}

func (b *bench) removeGroup(id string, ids ...string) error {
	_, err := b.DeleteVolumeGroupSnapshot(b.ctx, &spec.DeleteVolumeGroupSnapshotRequest{GroupSnapshotId: id, SnapshotIds: ids})
	return err
}

// TestGroup: a group is made at once, is one, and goes as one.
func TestGroup(t *testing.T) {
	b := newBench(t)
	b.create("a", "")
	b.create("b", "block")
	b.create("far", "", with("parent=tank/k8s"))
	g, err := b.group("g", "b", "a")
	b.must(err)
	if b.property("node/plane/volumes/a@g", "guid") == b.property("node/plane/volumes/b@g", "guid") || len(g.GetSnapshots()) != 2 || !g.GetReadyToUse() {
		t.Errorf("group: %v", g)
	}
	b.model.Advance(time.Hour)
	again, err := b.group("g", "a", "b")
	b.must(err)
	if again.String() != g.String() {
		t.Errorf("again: got %v, want %v", again, g)
	}
	found, err := b.GetVolumeGroupSnapshot(b.ctx, &spec.GetVolumeGroupSnapshotRequest{GroupSnapshotId: "g", SnapshotIds: []string{"a@g", "b@g"}})
	b.must(err)
	if found.GetGroupSnapshot().String() != g.String() {
		t.Errorf("found: got %v, want %v", found, g)
	}
	_, err = b.GetVolumeGroupSnapshot(b.ctx, &spec.GetVolumeGroupSnapshotRequest{GroupSnapshotId: "g", SnapshotIds: []string{"a@g"}})
	b.code("get with one of two", err, codes.InvalidArgument)
	_, err = b.DeleteSnapshot(b.ctx, &spec.DeleteSnapshotRequest{SnapshotId: "a@g"})
	b.code("delete one", err, codes.InvalidArgument)
	_, err = b.CreateSnapshot(b.ctx, &spec.CreateSnapshotRequest{SourceVolumeId: "a", Name: "g"})
	b.code("snapshot of its name", err, codes.AlreadyExists)
	b.create("c", "", of("a@g"))
	b.remove("a")
	b.code("delete with another's", b.removeGroup("g", "a@g", "b@g", "a@x"), codes.InvalidArgument)
	b.code("delete with one of two", b.removeGroup("g", "a@g"), codes.InvalidArgument)
	b.must(b.removeGroup("g", "a@g", "b@g"))
	b.must(b.removeGroup("g", "a@g", "b@g"))
	snapshots, err := b.ListSnapshots(b.ctx, &spec.ListSnapshotsRequest{})
	b.must(err)
	if len(snapshots.GetEntries()) > 0 {
		t.Errorf("listed: %v", snapshots)
	}
	b.remove("b", "c", "far")
	if left := b.names(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestGroupRefused(t *testing.T) {
	b := newBench(t)
	b.create("a", "")
	b.create("b", "")
	b.create("far", "", with("parent=tank/k8s"))
	b.take("a", "s")
	b.must(b.model.Snapshot(b.ctx, []string{"node/plane/volumes/b@mine"}, nil))
	_, err := b.group("g", "a", "b")
	b.must(err)
	before := b.names()
	for _, c := range []struct {
		name string
		ids  []string
		want codes.Code
	}{
		{"", []string{"a"}, codes.InvalidArgument},
		{"h", nil, codes.InvalidArgument},
		{"h", []string{"a", "a"}, codes.InvalidArgument},
		{"h", []string{"a", ""}, codes.InvalidArgument},
		{"h", []string{"a", "gone"}, codes.NotFound},
		{"h", []string{"a", "far"}, codes.FailedPrecondition},
		{"g", []string{"a"}, codes.AlreadyExists},
		{"s", []string{"a", "b"}, codes.AlreadyExists},
		{"mine", []string{"a", "b"}, codes.AlreadyExists},
	} {
		_, err := b.group(c.name, c.ids...)
		b.code("group "+c.name, err, c.want)
	}
	if diff := cmp.Diff(before, b.names()); diff != "" {
		t.Errorf("datasets (-before +after):\n%s", diff)
	}
}
