package csi_test

import (
	"errors"
	"fmt"
	"testing"

	spec "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
)

// act is one call, after what it needs.
type act struct {
	name  string
	setup func(*bench)
	call  func(*bench) error
}

func acts() []act {
	create := func(r *spec.CreateVolumeRequest) func(*bench) error {
		return func(b *bench) error {
			_, err := b.CreateVolume(b.ctx, r)
			return err
		}
	}
	remove := func(id string) func(*bench) error {
		return func(b *bench) error {
			_, err := b.DeleteVolume(b.ctx, &spec.DeleteVolumeRequest{VolumeId: id})
			return err
		}
	}
	removeSnapshot := func(b *bench) error {
		_, err := b.DeleteSnapshot(b.ctx, &spec.DeleteSnapshotRequest{SnapshotId: "a@s"})
		return err
	}
	kind := func(kind string) func(*bench) { return func(b *bench) { b.create("a", kind) } }
	family := func(b *bench) {
		b.create("a", "ext4")
		b.take("a", "s")
		b.create("b", "ext4", of("a@s"))
		b.create("c", "ext4", of("a"))
	}
	return []act{
		{"create dataset", func(*bench) {}, create(request("a", ""))},
		{"create device", func(*bench) {}, create(request("a", "block"))},
		{"clone of a snapshot", func(b *bench) { b.create("a", "ext4"); b.take("a", "s") }, create(request("b", "ext4", of("a@s"), sized(96*mib, 0)))},
		{"clone of a volume", kind("ext4"), create(request("b", "ext4", of("a"), sized(96*mib, 0)))},
		{"clone of a dataset", kind(""), create(request("b", "", of("a"), sized(96*mib, 0)))},
		{"delete", kind(""), remove("a")},
		{"delete with family", family, remove("a")},
		{"delete a clone", family, remove("b")},
		{"delete the clone of a deleted volume", func(b *bench) { family(b); b.remove("a") }, remove("c")},
		{"delete a snapshot with a clone", family, removeSnapshot},
		{"delete the last snapshot of a deleted volume", func(b *bench) { family(b); b.remove("b", "c", "a") }, removeSnapshot},
		{"delete the last clone of all", func(b *bench) { family(b); b.remove("a", "a@s", "c") }, remove("b")},
		{"snapshot", kind(""), func(b *bench) error {
			_, err := b.CreateSnapshot(b.ctx, &spec.CreateSnapshotRequest{SourceVolumeId: "a", Name: "s"})
			return err
		}},
		{"group", func(b *bench) { b.create("a", ""); b.create("b", "block") }, func(b *bench) error {
			_, err := b.CreateVolumeGroupSnapshot(b.ctx, &spec.CreateVolumeGroupSnapshotRequest{Name: "g", SourceVolumeIds: []string{"a", "b"}})
			return err
		}},
		{"delete a group", groupOfTwo, func(b *bench) error {
			_, err := b.DeleteVolumeGroupSnapshot(b.ctx, &spec.DeleteVolumeGroupSnapshotRequest{GroupSnapshotId: "g", SnapshotIds: []string{"a@g", "b@g"}})
			return err
		}},
		{"expand", kind("block"), func(b *bench) error {
			_, err := b.ControllerExpandVolume(b.ctx, &spec.ControllerExpandVolumeRequest{
				VolumeId: "a", CapacityRange: &spec.CapacityRange{RequiredBytes: 128 * mib},
			})
			return err
		}},
	}
}

// groupOfTwo makes a group of which one snapshot has a clone.
func groupOfTwo(b *bench) {
	b.create("a", "")
	b.create("b", "")
	_, err := b.CreateVolumeGroupSnapshot(b.ctx, &spec.CreateVolumeGroupSnapshotRequest{Name: "g", SourceVolumeIds: []string{"a", "b"}})
	b.must(err)
	b.create("c", "", of("b@g"))
}

// TestFaults: each call to ZFS of each call fails once, before it has its effect, after the first part of it and after all, with an error and with the end of the
// driver. The call made again succeeds, and when all that was made is deleted, nothing is left. With -short one call to ZFS of three fails.
func TestFaults(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 3
	}
	for _, a := range acts() {
		t.Run(a.name, func(t *testing.T) {
			for _, fault := range []zfstest.Fault{
				{Err: errors.New("broken")}, {Err: errors.New("broken"), After: true}, {Crash: true}, {Crash: true, After: true},
				{Crash: true, Bare: true}, {Method: "List", Err: errors.New("broken")}, {Method: "List", Crash: true},
			} {
				hit := 0
				for ; fault.Skip < 100; fault.Skip += step {
					if !a.try(t, fault) {
						break
					}
					hit++
				}
				if hit == 0 {
					t.Errorf("%+v never happened", fault)
				}
			}
		})
	}
}

// try makes the call with a fault, and says whether that happened. The call may succeed all the same.
func (a act) try(t *testing.T, fault zfstest.Fault) (hit bool) {
	t.Helper()
	b := newBench(t)
	a.setup(b)
	b.system.Restart()
	what := fmt.Sprintf("%+v", fault)
	fault.Do = func() { hit = true }
	b.system.Order(fault)
	failed := a.call(b)
	b.system.Restart()
	if hit && fault.Crash {
		b.start()
	}
	if err := a.call(b); err != nil {
		t.Fatalf("%s: again: %v (first %v)", what, err, failed)
	}
	b.clear(what)
	return hit
}

// clear deletes all that Kubernetes knows of, and looks for what is left.
func (b *bench) clear(what string) {
	b.t.Helper()
	if _, err := b.DeleteVolumeGroupSnapshot(b.ctx, &spec.DeleteVolumeGroupSnapshotRequest{GroupSnapshotId: "g"}); err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
	volumes, err := b.ListVolumes(b.ctx, &spec.ListVolumesRequest{})
	b.must(err)
	snapshots, err := b.ListSnapshots(b.ctx, &spec.ListSnapshotsRequest{})
	b.must(err)
	for _, v := range volumes.GetEntries() {
		b.remove(v.GetVolume().GetVolumeId())
	}
	for _, s := range snapshots.GetEntries() {
		b.remove(s.GetSnapshot().GetSnapshotId())
	}
	if left := b.names(); len(left) > 0 {
		b.t.Fatalf("%s leaves %v", what, left)
	}
}
