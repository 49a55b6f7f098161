package csi_test

import (
	"slices"
	"testing"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
)

// TestCreateCut: a power cut after the dataset of a volume was made, and before it was set what it has to be known by, is in the way of nothing: the call made again
// makes the volume; and if it is never made again, the first deletion takes away what is left.
func TestCreateCut(t *testing.T) {
	for _, c := range []struct {
		name, method string
		request      *spec.CreateVolumeRequest
	}{
		{"dataset", "Create", request("b", "")},
		{"device", "Create", request("b", "block")},
		{"clone of a snapshot", "Clone", request("b", "ext4", of("a@s"))},
		{"clone of a volume", "Clone", request("b", "ext4", of("a"))},
	} {
		for _, again := range []bool{true, false} {
			b := newBench(t)
			b.create("a", "ext4")
			b.take("a", "s")
			before := b.names()
			b.system.Order(zfstest.Fault{Method: c.method, Bare: true, Crash: true})
			if _, err := b.CreateVolume(b.ctx, c.request); err == nil {
				t.Fatalf("%s: the power was not cut", c.name)
			}
			b.system.Restart()
			b.start()
			if slices.Contains(b.names(), "node/plane/volumes/b") {
				t.Errorf("%s: what is not whole has the name of a volume", c.name)
			}
			volumes, err := b.ListVolumes(b.ctx, &spec.ListVolumesRequest{})
			b.must(err)
			if len(volumes.GetEntries()) != 1 {
				t.Errorf("%s: listed is %v", c.name, volumes)
			}
			if again {
				_, err := b.CreateVolume(b.ctx, c.request)
				b.must(err)
				if got := b.property("node/plane/volumes/b", "dev.cyvive.csi:volume"); got != "b" {
					t.Errorf("%s: made again, it is marked %q", c.name, got)
				}
				b.remove("b")
			} else {
				b.create("other", "")
				b.remove("other")
			}
			if diff := cmp.Diff(before, b.names()); diff != "" {
				t.Errorf("%s, made again %t: datasets (-want +got):\n%s", c.name, again, diff)
			}
		}
	}
}

// TestUnmadeForeign: who has made something of the name that a volume has until it is whole keeps what is in it. What a schedule has taken of one that is blank is in
// the way of nothing.
func TestUnmadeForeign(t *testing.T) {
	b := newBench(t)
	b.must(b.model.Create(b.ctx, "node/plane/volumes/_new-a", zfs.CreateOptions{}))
	b.must(b.model.Write(b.ctx, "node/plane/volumes/_new-a", "f", make([]byte, 3*mib)))
	for _, name := range []string{"node/plane/volumes/_new-above", "node/plane/volumes/_new-above/x"} {
		b.must(b.model.Create(b.ctx, name, zfs.CreateOptions{}))
		b.must(b.model.Snapshot(b.ctx, []string{name + "@hourly"}, nil))
	}
	before := b.names()
	for _, name := range []string{"a", "above"} {
		_, err := b.CreateVolume(b.ctx, request(name, ""))
		b.code("create "+name, err, codes.FailedPrecondition)
	}
	b.must(b.model.Create(b.ctx, "node/plane/volumes/_new-b", zfs.CreateOptions{}))
	b.must(b.model.Snapshot(b.ctx, []string{"node/plane/volumes/_new-b@hourly"}, nil))
	b.create("b", "")
	b.remove("b")
	b.start() // so that it looks everywhere
	b.create("c", "")
	b.remove("c")
	if diff := cmp.Diff(before, b.names()); diff != "" {
		t.Errorf("datasets (-want +got):\n%s", diff)
	}
}

// TestCreateCutAtLast: a volume that has its name, and no device yet, gets that with the call made again.
func TestCreateCutAtLast(t *testing.T) {
	b := newBench(t)
	b.system.Order(zfstest.Fault{Method: "Set", Crash: true})
	if _, err := b.CreateVolume(b.ctx, request("a", "block")); err == nil {
		t.Fatal("the power was not cut")
	}
	b.system.Restart()
	b.start()
	if got := b.property("node/plane/volumes/a", "volmode"); got != "none" {
		t.Errorf("before it is whole, volmode is %s", got)
	}
	b.create("a", "block")
	if got := b.property("node/plane/volumes/a", "volmode"); got != "dev" {
		t.Errorf("volmode is %s", got)
	}
}
