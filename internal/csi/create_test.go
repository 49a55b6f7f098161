package csi_test

import (
	"strings"
	"testing"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/cyvive/cyvive/internal/csi"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
)

// TestCreate: what is made, for each kind.
func TestCreate(t *testing.T) {
	for _, c := range []struct {
		name    string
		request *spec.CreateVolumeRequest
		dataset string
		want    map[string]string
	}{
		{
			"dataset", request("a", "", with("compression=zstd-3", "recordsize=16384", "csi.storage.k8s.io/pvc/name=x")), "node/plane/volumes/a",
			map[string]string{"type": "filesystem", "mountpoint": "legacy", "snapdir": "disabled", "refquota": "67108864", "refreservation": "0",
				"compression": "zstd-3", "recordsize": "16384", "dev.cyvive.csi:filesystem": "zfs"},
		},
		{"reserved", request("a", "zfs", with("sparse=false")), "node/plane/volumes/a", map[string]string{"refquota": "67108864", "refreservation": "67108864"}},
		{
			"device", request("a", "block", with("volblocksize=65536", "parent=tank/k8s")), "tank/k8s/a",
			map[string]string{"type": "volume", "volsize": "67108864", "volblocksize": "65536", "volmode": "dev", "dev.cyvive.csi:filesystem": "none"},
		},
		{"ext4", request("a", "ext4"), "node/plane/volumes/a", map[string]string{"type": "volume", "dev.cyvive.csi:filesystem": "ext4"}},
		{"xfs by class", request("a", "", with("fsType=xfs"), sized(301*mib, 0)), "node/plane/volumes/a", map[string]string{"dev.cyvive.csi:filesystem": "xfs"}},
		{"no size", request("a", "", sized(0, 0)), "node/plane/volumes/a", map[string]string{"refquota": "1073741824"}},
		{"a limit", request("a", "block", sized(0, 10*mib+5)), "node/plane/volumes/a", map[string]string{"volsize": "10485760"}},
		{"rounded up", request("a", "block", sized(mib+1, 0)), "node/plane/volumes/a", map[string]string{"volsize": "1064960"}},
		{
			"strange name", request("../etcd@x\n", ""), "node/plane/volumes/x-hash",
			map[string]string{"dev.cyvive.csi:name": "..%2Fetcd%40x%0A"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			answer, err := b.CreateVolume(b.ctx, c.request)
			b.must(err)
			dataset := c.dataset
			if strings.Contains(dataset, "/x-") {
				dataset = "node/plane/volumes/" + csi.ComponentOf(c.request.GetName())
			}
			got := map[string]string{}
			for name := range c.want {
				got[name] = b.property(dataset, name)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("properties (-want +got):\n%s", diff)
			}
			again, err := b.CreateVolume(b.ctx, c.request)
			b.must(err)
			if again.String() != answer.String() {
				t.Errorf("again: got %v, want %v", again, answer)
			}
			pool := map[string]string{"node": "11", "tank": "12"}[strings.Split(dataset, "/")[0]]
			topology := map[string]string{csi.Name + "/node": "n1", csi.Name + "/pool-" + pool: "imported"}
			if diff := cmp.Diff(topology, answer.GetVolume().GetAccessibleTopology()[0].GetSegments()); diff != "" {
				t.Errorf("topology (-want +got):\n%s", diff)
			}
		})
	}
}

// TestCreateRefused: the code that the specification has for it, and nothing made.
func TestCreateRefused(t *testing.T) {
	mode := func(m spec.VolumeCapability_AccessMode_Mode) func(*spec.CreateVolumeRequest) {
		return func(r *spec.CreateVolumeRequest) { r.VolumeCapabilities = []*spec.VolumeCapability{capability("", m)} }
	}
	flags := func(f ...string) func(*spec.CreateVolumeRequest) {
		return func(r *spec.CreateVolumeRequest) { r.VolumeCapabilities[0].GetMount().MountFlags = f }
	}
	where := func(segments ...string) func(*spec.CreateVolumeRequest) {
		return func(r *spec.CreateVolumeRequest) {
			s := map[string]string{}
			for _, one := range segments {
				key, value, _ := strings.Cut(one, "=")
				s[csi.Name+"/"+key] = value
			}
			r.AccessibilityRequirements = &spec.TopologyRequirement{Requisite: []*spec.Topology{{Segments: s}}}
		}
	}
	both := func(r *spec.CreateVolumeRequest) {
		r.VolumeCapabilities = append(r.VolumeCapabilities, capability("block"))
	}
	for _, c := range []struct {
		name   string
		r      *spec.CreateVolumeRequest
		want   codes.Code
		saying string
	}{
		{"no name", request("", ""), codes.InvalidArgument, "name"},
		{"control character", request("a\x07", ""), codes.InvalidArgument, "control"},
		{"many writers", request("b", "", mode(spec.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER)), codes.InvalidArgument, "ReadWriteOnce"},
		{"many readers", request("b", "", mode(spec.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY)), codes.InvalidArgument, "ReadWriteOnce"},
		{"no mode", request("b", "", mode(0)), codes.InvalidArgument, "access mode"},
		{"device and file system", request("b", "", both), codes.InvalidArgument, "cannot be"},
		{"unknown file system", request("b", "btrfs"), codes.InvalidArgument, "zfs or ext4 or xfs"},
		{"mount option", request("b", "", flags("data=writeback")), codes.InvalidArgument, "noatime"},
		{"other property", request("b", "", with("mountpoint=/etc")), codes.InvalidArgument, "mountpoint"},
		{"user property", request("b", "", with("dev.cyvive.csi:volume=a")), codes.InvalidArgument, "dev.cyvive.csi:volume"},
		{"other parent", request("b", "", with("parent=node/etcd")), codes.InvalidArgument, "node/plane/volumes or tank/k8s"},
		{"parent above", request("b", "", with("parent=node")), codes.InvalidArgument, "parent"},
		{"bad value", request("b", "", with("recordsize=1M")), codes.InvalidArgument, "power of two"},
		{"property of a device", request("b", "", with("volblocksize=16384")), codes.InvalidArgument, "volume"},
		{"property of a dataset", request("b", "block", with("recordsize=16384")), codes.InvalidArgument, "filesystem"},
		{"fsType of a device", request("b", "block", with("fsType=ext4")), codes.InvalidArgument, "Block"},
		{"negative", request("b", "", sized(-1, 0)), codes.InvalidArgument, "negative"},
		{"limit below", request("b", "", sized(2*mib, mib)), codes.OutOfRange, "no volume"},
		{"too small for XFS", request("b", "xfs", sized(0, 100*mib)), codes.OutOfRange, "at least"},
		{"no multiple of blocks", request("b", "block", sized(mib+1, mib+2)), codes.OutOfRange, "multiple"},
		{"other node", request("b", "", where("node=n2")), codes.ResourceExhausted, "n1"},
		{"other pool of a node of this name", request("b", "", where("node=n1", "pool-99=imported")), codes.ResourceExhausted, "n1"},
		{"source volume gone", request("b", "", of("gone")), codes.NotFound, "gone"},
		{"source snapshot gone", request("b", "", of("a@gone")), codes.NotFound, "gone"},
		{"source is a dataset", request("b", "block", of("a")), codes.InvalidArgument, "source"},
		{"source in another pool", request("b", "", of("a"), with("parent=tank/k8s")), codes.InvalidArgument, "pool"},
		{"there with another size", request("a", "", sized(65*mib, 0)), codes.AlreadyExists, "bytes"},
		{"there below another parent", request("a", "", with("parent=tank/k8s")), codes.AlreadyExists, "below"},
		{"there as another kind", request("a", "block"), codes.AlreadyExists, "file system"},
		{"there with other parameters", request("a", "", with("compression=off")), codes.AlreadyExists, "parameters"},
		{"there of no source", request("a", "", of("a")), codes.AlreadyExists, "made of"},
		{"there, and none of the driver's", request("mine", ""), codes.AlreadyExists, "not made by the driver"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.create("a", "")
			b.must(b.model.Create(b.ctx, "node/plane/volumes/mine", zfs.CreateOptions{}))
			before := b.names()
			_, err := b.CreateVolume(b.ctx, c.r)
			b.code("create", err, c.want)
			if err != nil && !strings.Contains(err.Error(), c.saying) {
				t.Errorf("got %v, want one that says %q", err, c.saying)
			}
			if diff := cmp.Diff(before, b.names()); diff != "" {
				t.Errorf("datasets (-before +after):\n%s", diff)
			}
		})
	}
}

// TestParameters: no value gets to ZFS that is not in the table.
func TestParameters(t *testing.T) {
	b := newBench(t)
	for _, good := range []string{
		"compression=off", "compression=zstd", "compression=zstd-19", "compression=gzip-9", "recordsize=4096", "recordsize=1048576", "volblocksize=131072",
		"atime=off", "logbias=throughput", "sparse=true", "parent=tank/k8s", "fsType=zfs", "csi.storage.k8s.io/anything=at all",
	} {
		name, value, _ := strings.Cut(good, "=")
		b.must(b.CheckParameter(name, value))
	}
	for _, bad := range []string{
		"compression=", "compression=zstd-20", "compression=zstd-0", "compression=zstd-03", "compression=gzip-10", "compression=lz4-1", "compression=zstd--1",
		"compression=on\n", "recordsize=0", "recordsize=2048", "recordsize=2097152", "recordsize=4097", "recordsize=+4096", "recordsize=128K", "recordsize= 4096",
		"volblocksize=262144", "sparse=yes", "parent=", "parent=node/plane/volumes/a", "parent=/node/plane/volumes", "fsType=ext3", "mountpoint=/", "sharenfs=on", "quota=1",
		"exec=on", "=", "-o=x", "canmount=on", "readonly=off", "encryption=off", "sync=disabled", "dev.cyvive.csi:capacity=1", "Compression=off",
	} {
		name, value, _ := strings.Cut(bad, "=")
		b.code(bad, b.CheckParameter(name, value), codes.InvalidArgument)
	}
}

// TestClone: a clone has the size that is asked for, and grows for it; what it is made of stays what it is.
func TestClone(t *testing.T) {
	for _, kind := range []string{"zfs", "ext4", "block"} {
		t.Run(kind, func(t *testing.T) {
			b := newBench(t)
			a := b.create("a", kind)
			snapshot := b.take("a", "s")
			_, err := b.ControllerExpandVolume(b.ctx, &spec.ControllerExpandVolumeRequest{
				VolumeId: "a", CapacityRange: &spec.CapacityRange{RequiredBytes: 96 * mib},
			})
			b.must(err)
			large := b.create("b", kind, of(snapshot), sized(128*mib, 0))
			same := b.create("c", kind, of(snapshot), sized(0, 0))
			fresh := b.create("d", kind, of(a.GetVolumeId()), sized(0, 0))
			want := map[string]int64{"b": 128 * mib, "c": 64 * mib, "d": 96 * mib}
			got := map[string]int64{"b": large.GetCapacityBytes(), "c": same.GetCapacityBytes(), "d": fresh.GetCapacityBytes()}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("sizes (-want +got):\n%s", diff)
			}
			if got := large.GetContentSource().GetSnapshot().GetSnapshotId(); got != snapshot {
				t.Errorf("source: got %q, want %q", got, snapshot)
			}
			if got := fresh.GetContentSource().GetVolume().GetVolumeId(); got != "a" {
				t.Errorf("source: got %q, want a", got)
			}
			if kind != "zfs" {
				_, err := b.CreateVolume(b.ctx, request("e", kind, of(snapshot), sized(32*mib, 0)))
				b.code("clone that is smaller", err, codes.OutOfRange)
			}
			b.remove("a", snapshot, "b", "c", "d")
			if left := b.names(); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// TestCloneWithoutRoom: a clone that cannot have its size is not left behind, since Kubernetes does not ask for it again.
func TestCloneWithoutRoom(t *testing.T) {
	for _, source := range []string{"a", "a@s"} {
		b := newBench(t)
		b.create("a", "block")
		b.take("a", "s")
		before := b.names()
		b.system.Order(zfstest.Fault{Method: "Set", Err: zfs.ErrNoSpace})
		_, err := b.CreateVolume(b.ctx, request("b", "block", of(source), sized(128*mib, 0)))
		b.code("clone of "+source, err, codes.ResourceExhausted)
		if diff := cmp.Diff(before, b.names()); diff != "" {
			t.Errorf("of %s: datasets (-before +after):\n%s", source, diff)
		}
	}
}

// TestCloneStays: Kubernetes is not told that there is none of a clone which cannot have its size, while it is there.
func TestCloneStays(t *testing.T) {
	for _, full := range []bool{false, true} {
		b := newBench(t)
		b.create("a", "block")
		b.take("a", "s")
		before := b.names()
		r := request("b", "block", of("a@s"), sized(128*mib, 0))
		b.system.Order(zfstest.Fault{Method: "Set", Err: zfs.ErrNoSpace})
		b.system.Order(zfstest.Fault{Method: "Destroy", Err: zfs.ErrBusy})
		_, err := b.CreateVolume(b.ctx, r)
		b.code("clone", err, codes.Aborted)
		if full {
			b.system.Order(zfstest.Fault{Method: "Set", Err: zfs.ErrNoSpace})
			_, err = b.CreateVolume(b.ctx, r)
			b.code("clone again", err, codes.ResourceExhausted)
		} else {
			_, err = b.CreateVolume(b.ctx, r)
			b.must(err)
			b.remove("b")
		}
		if diff := cmp.Diff(before, b.names()); diff != "" {
			t.Errorf("it is full yet %t: datasets (-before +after):\n%s", full, diff)
		}
	}
}

// TestReservationFollows: a device that has grown, and of which the power was cut before that was reserved, has it reserved with the next call; and is of use without.
func TestReservationFollows(t *testing.T) {
	for _, full := range []bool{false, true} {
		b := newBench(t)
		v := b.create("a", "ext4")
		b.must(b.model.Set(b.ctx, "node/plane/volumes/a", map[string]string{"refreservation": "67108864"}))
		b.must(b.model.Set(b.ctx, "node/plane/volumes/a", map[string]string{"volsize": "134217728"}))
		want := "auto"
		if full {
			b.system.Order(zfstest.Fault{Method: "Set", Err: zfs.ErrNoSpace})
			want = "67108864"
		}
		b.must(b.stage(v, capability("ext4")))
		if got := b.property("node/plane/volumes/a", "refreservation"); got != want {
			t.Errorf("the pool is full %t: reserved is %s, want %s", full, got, want)
		}
		if got := b.mounts.FileSystemBytes("node/plane/volumes/a"); got != 128*mib {
			t.Errorf("the pool is full %t: file system of %d bytes", full, got)
		}
	}
}

// TestExpandWithoutRoom: a volume that cannot grow stays as it is, and is of use.
func TestExpandWithoutRoom(t *testing.T) {
	for _, kind := range []string{"block", "zfs"} {
		b := newBench(t)
		v := b.create("a", kind, with("sparse=false"))
		b.system.Order(zfstest.Fault{Method: "Set", Err: zfs.ErrNoSpace})
		_, err := b.ControllerExpandVolume(b.ctx, &spec.ControllerExpandVolumeRequest{VolumeId: "a", CapacityRange: &spec.CapacityRange{RequiredBytes: gib}})
		b.code("expand", err, codes.ResourceExhausted)
		if kind == "zfs" {
			b.must(b.model.Set(b.ctx, "node/plane/volumes/a", map[string]string{"refquota": "1073741824"})) // as far as ZFS came
		}
		again, err := b.ControllerGetVolume(b.ctx, &spec.ControllerGetVolumeRequest{VolumeId: "a"})
		b.must(err)
		if got := again.GetVolume().GetCapacityBytes(); got != 64*mib {
			t.Errorf("%s: capacity %d", kind, got)
		}
		b.must(b.stage(v, capability(kind)))
		_, err = b.ControllerExpandVolume(b.ctx, &spec.ControllerExpandVolumeRequest{VolumeId: "a", CapacityRange: &spec.CapacityRange{RequiredBytes: gib}})
		b.must(err)
		if kind == "zfs" && b.property("node/plane/volumes/a", "refreservation") != "1073741824" {
			t.Error("the reservation did not follow")
		}
	}
}

// TestNames: different names stay different, and each is one that ZFS takes.
func TestNames(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{
		"pvc-0b1f", "PVC-0b1f", "a.b", "a_b", "a b", "a/b", "../a", "_deleted", "_clone-a", "x-", "x-0000", "-a", "", "é", "a@b", "a#b", "a%b", strings.Repeat("a", 63),
		strings.Repeat("a", 64), strings.Repeat("a", 128), "a\nb", "\t", ".", "..", "%recv", csi.ComponentOf("a/b"),
	} {
		got := csi.ComponentOf(name)
		if !csi.IsComponent(got) {
			t.Errorf("componentOf(%q): %q is no component", name, got)
		}
		if other, ok := seen[got]; ok {
			t.Errorf("%q and %q are both %q", name, other, got)
		}
		seen[got] = name
	}
	for _, plain := range []string{"pvc-0b1f", strings.Repeat("a", 63)} {
		if got := csi.ComponentOf(plain); got != plain {
			t.Errorf("componentOf(%q): got %q", plain, got)
		}
	}
}
