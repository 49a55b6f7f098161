package csi_test

import (
	"slices"
	"strings"
	"testing"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
)

// TestDeleteWithoutRoom: where nothing can be put aside, since a quota or the pool is full, volumes are deleted nevertheless: with the snapshots that are none of
// Kubernetes's, and after those that are.
func TestDeleteWithoutRoom(t *testing.T) {
	for _, full := range []string{"Create", "Rename"} {
		b := newBench(t)
		b.create("a", "")
		b.take("a", "s")
		b.create("b", "", of("a@s"))
		b.create("c", "", of("a"))
		b.create("d", "")
		b.must(b.model.Snapshot(b.ctx, []string{"node/plane/volumes/d@hourly"}, nil))
		remove := func(id string) error {
			b.system.Order(zfstest.Fault{Method: full, Err: zfs.ErrNoSpace})
			defer b.system.Restart()
			_, err := b.DeleteVolume(b.ctx, &spec.DeleteVolumeRequest{VolumeId: id})
			return err
		}
		before := b.names()
		err := remove("a")
		b.code(full+": with a snapshot", err, codes.FailedPrecondition)
		if err != nil && !strings.Contains(err.Error(), "a@s") {
			t.Errorf("%s: no word of the snapshot that has to go first: %v", full, err)
		}
		if diff := cmp.Diff(before, b.names()); diff != "" {
			t.Errorf("%s: datasets (-want +got):\n%s", full, diff)
		}
		for _, id := range []string{"b", "c", "d"} { // clones, and a volume of which a schedule has taken a snapshot
			b.must(remove(id))
		}
		b.remove("a@s")
		b.must(remove("a"))
		if left := b.names(); len(left) > 0 {
			t.Errorf("%s: left: %v", full, left)
		}
	}
}

// TestTrashAheadOfTime: the place for deleted volumes is there before the pool can be full of what needs it.
func TestTrashAheadOfTime(t *testing.T) {
	for what, need := range map[string]func(*bench){
		"snapshot": func(b *bench) { b.take("a", "s") },
		"clone":    func(b *bench) { b.create("b", "", of("a")) },
		"group": func(b *bench) {
			_, err := b.group("g", "a")
			b.must(err)
		},
	} {
		b := newBench(t)
		b.create("a", "")
		need(b)
		found, err := b.model.List(b.ctx, zfs.Query{Roots: []string{"node/plane/volumes"}, Depth: 1})
		b.must(err)
		if !slices.ContainsFunc(found, func(d zfs.Dataset) bool { return d.Name == "node/plane/volumes/_deleted" }) {
			t.Errorf("%s: there is no place for deleted volumes", what)
		}
	}
}
