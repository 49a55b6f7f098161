package csi_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/cyvive/cyvive/internal/csi"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// stopped is a system with one pool that is suspended: of that it answers nothing (pool_status_check in module/zfs/zfs_ioctl.c of OpenZFS 2.3.9, for all
// that the driver has done, with EAGAIN).
type stopped struct {
	zfs.System
	pool string
}

func (s stopped) check(names ...string) error {
	for _, name := range names {
		if strings.HasPrefix(name, s.pool+"/") {
			return fmt.Errorf("cannot open '%s': %w", name, zfs.ErrSuspended)
		}
	}
	return nil
}

func (s stopped) List(ctx context.Context, q zfs.Query) ([]zfs.Dataset, error) {
	if err := s.check(q.Roots...); err != nil {
		return nil, err
	}
	return s.System.List(ctx, q)
}

func (s stopped) Create(ctx context.Context, name string, o zfs.CreateOptions) error {
	if err := s.check(name); err != nil {
		return err
	}
	return s.System.Create(ctx, name, o)
}

func (s stopped) Destroy(ctx context.Context, name string) error {
	if err := s.check(name); err != nil {
		return err
	}
	return s.System.Destroy(ctx, name)
}

// suspend stops the pool of the first parent, or has it go on.
func (b *bench) suspend(yes bool) {
	b.system.System = b.model
	b.pools.Put("node", csi.Pool{GUID: 11, State: "ONLINE"})
	if yes {
		b.system.System = stopped{b.model, "node"}
		b.pools.Put("node", csi.Pool{GUID: 11, State: "SUSPENDED"})
	}
}

// suspendedBench has volumes, snapshots and groups in both pools, of which the first parent's is suspended: n and m with n@s and group ng, t and u with t@s and
// group tg.
func suspendedBench(t *testing.T) *bench {
	t.Helper()
	b := newBench(t)
	b.create("n", "")
	b.create("m", "")
	b.create("t", "ext4", with("parent=tank/k8s"))
	b.create("u", "", with("parent=tank/k8s"))
	b.take("n", "s")
	b.take("t", "ts")
	for id, of := range map[string][]string{"ng": {"n", "m"}, "tg": {"t", "u"}} {
		if _, err := b.group(id, of...); err != nil {
			t.Fatal(err)
		}
	}
	b.suspend(true)
	return b
}

// TestSuspendedElsewhere: a pool that is suspended is in the way of nothing in another.
func TestSuspendedElsewhere(t *testing.T) {
	b := suspendedBench(t)
	tank := with("parent=tank/k8s")
	for range 2 { // again, as a call may be
		v := b.create("new", "ext4", tank)
		b.create("clone", "ext4", tank, of("t"))
		b.create("restored", "ext4", tank, of("t@ts"))
		b.take("t", "later")
		_, err := b.group("later-group", "t", "u")
		b.must(err)
		_, err = b.GetVolumeGroupSnapshot(b.ctx, &spec.GetVolumeGroupSnapshotRequest{GroupSnapshotId: "tg"})
		b.must(err)
		_, err = b.ControllerExpandVolume(b.ctx, &spec.ControllerExpandVolumeRequest{VolumeId: "new", CapacityRange: &spec.CapacityRange{RequiredBytes: gib}})
		b.must(err)
		b.must(b.stage(v, capability("ext4")))
		b.must(b.publish(v, capability("ext4"), "p1", false))
	}
	volumes, err := b.ListVolumes(b.ctx, &spec.ListVolumesRequest{})
	b.must(err)
	var got []string
	for _, e := range volumes.GetEntries() {
		got = append(got, e.GetVolume().GetVolumeId())
	}
	if diff := cmp.Diff([]string{"clone", "new", "restored", "t", "u"}, got); diff != "" {
		t.Errorf("volumes (-want +got):\n%s", diff)
	}
	b.must(b.unpublish(volumes.GetEntries()[1].GetVolume(), "p1"))
	b.must(b.unstage(volumes.GetEntries()[1].GetVolume()))
	b.must(b.removeGroup("later-group"))
	b.must(b.removeGroup("tg"))
	b.remove("t@ts", "t@later", "t", "clone", "restored", "new", "u")
	for _, name := range b.names() {
		if strings.HasPrefix(name, "tank/") {
			t.Errorf("left in the pool that is well: %s", name)
		}
	}
}

// TestSuspendedHere: what is in a pool that is suspended, or may be, is not there at present; it is neither gone nor deleted.
func TestSuspendedHere(t *testing.T) {
	b := suspendedBench(t)
	before := b.names()
	for name, call := range map[string]func() error{
		"create": func() error { _, err := b.CreateVolume(b.ctx, request("new", "")); return err },
		"create again": func() error {
			_, err := b.CreateVolume(b.ctx, request("n", ""))
			return err
		},
		"get": func() error {
			_, err := b.ControllerGetVolume(b.ctx, &spec.ControllerGetVolumeRequest{VolumeId: "n"})
			return err
		},
		"delete": func() error {
			_, err := b.DeleteVolume(b.ctx, &spec.DeleteVolumeRequest{VolumeId: "n"})
			return err
		},
		"delete what may be there": func() error {
			_, err := b.DeleteVolume(b.ctx, &spec.DeleteVolumeRequest{VolumeId: "other"})
			return err
		},
		"snapshot": func() error {
			_, err := b.CreateSnapshot(b.ctx, &spec.CreateSnapshotRequest{SourceVolumeId: "n", Name: "s"})
			return err
		},
		"get snapshot": func() error {
			_, err := b.GetSnapshot(b.ctx, &spec.GetSnapshotRequest{SnapshotId: "n@s"})
			return err
		},
		"list one snapshot": func() error {
			_, err := b.ListSnapshots(b.ctx, &spec.ListSnapshotsRequest{SnapshotId: "n@s"})
			return err
		},
		"list snapshots of one": func() error {
			_, err := b.ListSnapshots(b.ctx, &spec.ListSnapshotsRequest{SourceVolumeId: "n"})
			return err
		},
		"delete snapshot": func() error {
			_, err := b.DeleteSnapshot(b.ctx, &spec.DeleteSnapshotRequest{SnapshotId: "n@s"})
			return err
		},
		"group":        func() error { _, err := b.group("new", "n", "m"); return err },
		"delete group": func() error { return b.removeGroup("ng") },
		"get group": func() error {
			_, err := b.GetVolumeGroupSnapshot(b.ctx, &spec.GetVolumeGroupSnapshotRequest{GroupSnapshotId: "ng"})
			return err
		},
	} {
		b.code(name, call(), codes.Unavailable)
	}
	if diff := cmp.Diff(before, b.names()); diff != "" {
		t.Errorf("datasets (-want +got):\n%s", diff)
	}
	for parent, want := range map[string]int64{"node/plane/volumes": 0, "tank/k8s": 1 << 40} {
		room, err := b.GetCapacity(b.ctx, &spec.GetCapacityRequest{Parameters: map[string]string{"parent": parent}})
		b.must(err)
		if got := room.GetAvailableCapacity(); got != want {
			t.Errorf("capacity of %s: got %d, want %d", parent, got, want)
		}
	}
	b.must(b.removeGroup("tg"))
	b.remove("t@ts", "t", "u")
	_, err := b.ListVolumes(b.ctx, &spec.ListVolumesRequest{})
	b.code("list where there are no others", err, codes.Unavailable)
	b.suspend(false)
	b.must(b.removeGroup("ng"))
	b.remove("n@s", "n", "m")
	if left := b.names(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestSuspendedMeanwhile: what a list did not have counts as gone only if no pool has stopped since.
func TestSuspendedMeanwhile(t *testing.T) {
	b := newBench(t)
	b.pools.Put("node", csi.Pool{GUID: 11, State: "SUSPENDED"})
	_, err := b.DeleteVolume(b.ctx, &spec.DeleteVolumeRequest{VolumeId: "gone"})
	b.code("delete volume", err, codes.Unavailable)
	_, err = b.DeleteSnapshot(b.ctx, &spec.DeleteSnapshotRequest{SnapshotId: "gone@s"})
	b.code("delete snapshot", err, codes.Unavailable)
	b.code("delete group", b.removeGroup("gone"), codes.Unavailable)
}
