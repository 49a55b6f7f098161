package csi_test

import (
	"errors"
	"testing"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/cyvive/cyvive/internal/csi"
)

const (
	single = spec.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER
	multi  = spec.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER
)

// TestLife: a volume of each kind goes to pods and back, grows on the way, and each call may come twice.
func TestLife(t *testing.T) {
	for _, kind := range []string{"zfs", "ext4", "xfs", "block"} {
		t.Run(kind, func(t *testing.T) {
			b := newBench(t)
			v := b.create("a", kind, sized(320*mib, 0))
			c := capability(kind)
			for range 2 {
				b.must(b.stage(v, c))
				b.must(b.publish(v, c, "p1", false))
			}
			b.must(b.publish(v, c, "p2", kind != "block"))
			held := map[string]string{}
			if kind == "block" {
				held = map[string]string{"pods/p1/mount": "node/plane/volumes/a", "pods/p2/mount": "node/plane/volumes/a"}
			}
			if diff := cmp.Diff(held, b.mounts.Held()); diff != "" {
				t.Errorf("held and open to pods (-want +got):\n%s", diff)
			}
			grown, err := b.ControllerExpandVolume(b.ctx, &spec.ControllerExpandVolumeRequest{VolumeId: "a", CapacityRange: &spec.CapacityRange{RequiredBytes: gib}})
			b.must(err)
			if grown.GetCapacityBytes() != gib || grown.GetNodeExpansionRequired() != (kind == "ext4" || kind == "xfs") {
				t.Errorf("expanded: %v", grown)
			}
			path := csi.KubeletDir + "/pods/p1/mount"
			_, err = b.NodeExpandVolume(b.ctx, &spec.NodeExpandVolumeRequest{VolumeId: "a", VolumePath: path, CapacityRange: &spec.CapacityRange{RequiredBytes: gib}})
			b.must(err)
			if kind == "ext4" || kind == "xfs" {
				if got := b.mounts.FileSystemBytes("node/plane/volumes/a"); got != gib {
					t.Errorf("file system has %d bytes", got)
				}
			}
			stats, err := b.NodeGetVolumeStats(b.ctx, &spec.NodeGetVolumeStatsRequest{VolumeId: "a", VolumePath: path})
			b.must(err)
			if total := stats.GetUsage()[0].GetTotal(); kind == "block" && total != gib || kind != "block" && total != 100 {
				t.Errorf("usage: %v", stats)
			}
			b.start() // the driver keeps nothing in memory
			for range 2 {
				b.must(b.unpublish(v, "p1"))
				b.must(b.unpublish(v, "p2"))
				b.must(b.unstage(v))
			}
			if b.mounts.KindOf("pods/p1/mount") != "" || len(b.mounts.Held()) > 0 {
				t.Errorf("the target is still there, or held is %v", b.mounts.Held())
			}
			b.must(b.stage(v, c)) // a file system is mended, and not made again
			b.must(b.unstage(v))
			b.remove("a")
		})
	}
}

// TestReadOnlyGrowsLater: a volume of which the class says ro is made larger, and its pod goes on; what is on it grows when it may be written to.
func TestReadOnlyGrowsLater(t *testing.T) {
	b := newBench(t)
	v := b.create("a", "ext4", sized(320*mib, 0))
	writable, c := capability("ext4"), capability("ext4")
	c.GetMount().MountFlags = []string{"ro"}
	b.must(b.stage(v, writable)) // by which there is a file system
	b.must(b.unstage(v))
	b.must(b.stage(v, c))
	b.must(b.publish(v, c, "p1", false))
	_, err := b.ControllerExpandVolume(b.ctx, &spec.ControllerExpandVolumeRequest{VolumeId: "a", CapacityRange: &spec.CapacityRange{RequiredBytes: gib}})
	b.must(err)
	grown, err := b.NodeExpandVolume(b.ctx, &spec.NodeExpandVolumeRequest{
		VolumeId: "a", VolumePath: csi.KubeletDir + "/pods/p1/mount", CapacityRange: &spec.CapacityRange{RequiredBytes: gib},
	})
	b.must(err)
	if got := b.mounts.FileSystemBytes("node/plane/volumes/a"); grown.GetCapacityBytes() != gib || got != 320*mib {
		t.Errorf("of %d bytes, the file system has %d", grown.GetCapacityBytes(), got)
	}
	b.must(b.unpublish(v, "p1"))
	b.must(b.unstage(v))
	b.must(b.stage(v, writable))
	if got := b.mounts.FileSystemBytes("node/plane/volumes/a"); got != gib {
		t.Errorf("staged to be written to, the file system has %d bytes", got)
	}
}

// TestPublishTwice is the second table of NodePublishVolume in the specification.
func TestPublishTwice(t *testing.T) {
	for _, c := range []struct {
		name     string
		mode     spec.VolumeCapability_AccessMode_Mode
		pod      string
		readOnly bool
		want     codes.Code
	}{
		{"single, same", single, "p1", false, codes.OK},
		{"single, same path otherwise", single, "p1", true, codes.AlreadyExists},
		{"single, other path", single, "p2", false, codes.FailedPrecondition},
		{"single, other path otherwise", single, "p2", true, codes.FailedPrecondition},
		{"old single, other path", spec.VolumeCapability_AccessMode_SINGLE_NODE_WRITER, "p2", false, codes.FailedPrecondition},
		{"multi, same", multi, "p1", false, codes.OK},
		{"multi, same path otherwise", multi, "p1", true, codes.AlreadyExists},
		{"multi, other path", multi, "p2", false, codes.OK},
		{"multi, other path otherwise", multi, "p2", true, codes.OK},
	} {
		b := newBench(t)
		v := b.create("a", "")
		b.must(b.stage(v, capability("", c.mode)))
		b.must(b.publish(v, capability("", c.mode), "p1", false))
		b.code(c.name, b.publish(v, capability("", c.mode), c.pod, c.readOnly), c.want)
	}
}

// TestPublishStagedReadOnly: what is staged read-only is published so, and a call that is made again succeeds.
func TestPublishStagedReadOnly(t *testing.T) {
	b := newBench(t)
	v := b.create("a", "")
	c := capability("")
	c.GetMount().MountFlags = []string{"ro"}
	b.must(b.stage(v, c))
	for range 2 {
		b.must(b.publish(v, capability(""), "p1", false))
	}
	mounted, err := b.mounts.Mounted(b.ctx)
	b.must(err)
	if last := mounted[len(mounted)-1]; len(mounted) != 2 || last.Target != "pods/p1/mount" || !last.ReadOnly {
		t.Errorf("mounted: %+v", mounted)
	}
}

// TestStageRefused: nothing is overwritten, and nothing is mounted as what it is not.
func TestStageRefused(t *testing.T) {
	b := newBench(t)
	v := b.create("a", "ext4")
	b.mounts.Put("node/plane/volumes/a", "LVM")
	b.code("other data", b.stage(v, capability("ext4")), codes.FailedPrecondition)
	b.mounts.Put("node/plane/volumes/a", "")
	b.must(b.stage(v, capability("ext4")))
	b.code("read-only later", b.stage(v, func() *spec.VolumeCapability {
		c := capability("ext4")
		c.GetMount().MountFlags = []string{"ro"}
		return c
	}()), codes.AlreadyExists)
	b.code("as a device", b.stage(v, capability("block")), codes.FailedPrecondition)
	b.code("as XFS", b.stage(v, capability("xfs")), codes.FailedPrecondition)
	device := b.create("d", "block")
	b.code("a device as a file system", b.stage(device, capability("")), codes.FailedPrecondition)
	b.code("not staged", b.publish(b.create("e", ""), capability(""), "p1", false), codes.FailedPrecondition)
	b.code("a read-only device", b.publish(device, capability("block"), "p1", true), codes.InvalidArgument)
	other := b.create("f", "")
	other.VolumeContext = map[string]string{"generation": "2"}
	b.code("an older copy", b.stage(other, capability("")), codes.FailedPrecondition)
	other.VolumeContext = map[string]string{"generation": "x"}
	b.code("no generation", b.stage(other, capability("")), codes.InvalidArgument)
}

// TestExceeds: what a volume cannot do is another error than a request that says nothing.
func TestExceeds(t *testing.T) {
	b := newBench(t)
	v := b.create("a", "")
	options := capability("")
	options.GetMount().MountFlags = []string{"suid"}
	noType, noMode := capability(""), capability("")
	noType.AccessType, noMode.AccessMode = nil, nil
	for name, c := range map[string]struct {
		c    *spec.VolumeCapability
		want codes.Code
	}{
		"many nodes":  {capability("", spec.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER), codes.FailedPrecondition},
		"file system": {capability("btrfs"), codes.FailedPrecondition},
		"options":     {options, codes.FailedPrecondition},
		"no type":     {noType, codes.InvalidArgument},
		"no mode":     {noMode, codes.InvalidArgument},
	} {
		b.code("stage, "+name, b.stage(v, c.c), c.want)
		b.code("publish, "+name, b.publish(v, c.c, "p1", false), c.want)
	}
}

// TestFormatCut: a file system that was not finished is made again, and nothing is made of a volume meanwhile. One that is whole is never made again.
func TestFormatCut(t *testing.T) {
	for _, after := range []bool{false, true} {
		b := newBench(t)
		v := b.create("a", "ext4")
		formatted := 0
		b.mounts.Hook = func(method string, done bool) error {
			if method == "Format" && done == after {
				formatted++
				return errors.New("cut")
			}
			return nil
		}
		b.code("stage", b.stage(v, capability("ext4")), codes.Internal)
		_, err := b.CreateSnapshot(b.ctx, &spec.CreateSnapshotRequest{SourceVolumeId: "a", Name: "s"})
		b.code("snapshot", err, codes.Aborted)
		_, err = b.CreateVolume(b.ctx, request("c", "ext4", of("a")))
		b.code("clone", err, codes.Aborted)
		_, err = b.CreateVolumeGroupSnapshot(b.ctx, &spec.CreateVolumeGroupSnapshotRequest{Name: "g", SourceVolumeIds: []string{"a"}})
		b.code("group", err, codes.Aborted)
		b.mounts.Hook = nil
		b.start()
		b.must(b.stage(v, capability("ext4")))
		b.must(b.unstage(v))
		b.mounts.Hook = func(method string, _ bool) error {
			if method == "Format" {
				t.Error("a whole file system was made again")
			}
			return nil
		}
		b.must(b.stage(v, capability("ext4")))
	}
}

// TestCloneIsStaged: a clone of a volume with a file system keeps it, and gets it as large as it is.
func TestCloneIsStaged(t *testing.T) {
	b := newBench(t)
	v := b.create("a", "ext4")
	b.must(b.stage(v, capability("ext4")))
	b.take("a", "s")
	c := b.create("c", "ext4", of("a@s"), sized(256*mib, 0))
	b.mounts.Hook = func(method string, _ bool) error {
		if method == "Format" {
			t.Error("the clone's file system was made again")
		}
		return nil
	}
	b.must(b.stage(c, capability("ext4")))
	if got := b.mounts.FileSystemBytes("node/plane/volumes/c"); got != 256*mib {
		t.Errorf("file system of the clone has %d bytes", got)
	}
}

// TestStageNotGrown: what could not be staged to the end is not mounted; but what was staged before stays.
func TestStageNotGrown(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		b := newBench(t)
		v := b.create("a", kind, sized(320*mib, 0))
		broken := func(method string, done bool) error {
			if method == "Grow" && !done {
				return errors.New("broken")
			}
			return nil
		}
		for _, want := range []int{0, 1} {
			b.mounts.Hook = broken
			if err := b.stage(v, capability(kind)); err == nil {
				t.Errorf("%s: staged, though it could not grow", kind)
			}
			mounted, err := b.mounts.Mounted(b.ctx)
			b.must(err)
			if len(mounted) != want {
				t.Errorf("%s: mounted are %+v, want %d", kind, mounted, want)
			}
			b.mounts.Hook = nil
			b.must(b.stage(v, capability(kind)))
		}
		b.must(b.unstage(v))
	}
}

// TestMountFaults: each change of mounts fails once, before and after; the call made again succeeds.
func TestMountFaults(t *testing.T) {
	for _, kind := range []string{"zfs", "ext4", "block"} {
		for _, after := range []bool{false, true} {
			for skip := 0; ; skip++ {
				b := newBench(t)
				v := b.create("a", kind)
				n := 0
				b.mounts.Hook = func(_ string, done bool) error {
					if done != after {
						return nil
					}
					if n++; n == skip+1 {
						return errors.New("broken")
					}
					return nil
				}
				for _, call := range []func() error{
					func() error { return b.stage(v, capability(kind)) }, func() error { return b.publish(v, capability(kind), "p1", false) },
					func() error { return b.unpublish(v, "p1") }, func() error { return b.unstage(v) },
				} {
					if call() != nil {
						b.start()
						b.must(call())
					}
				}
				b.remove("a")
				mounted, err := b.mounts.Mounted(b.ctx)
				b.must(err)
				if diff := cmp.Diff(0, len(mounted)+len(b.names())+len(b.mounts.Held())); diff != "" {
					t.Fatalf("%s, fault %d: left %v, %v, %v", kind, skip, mounted, b.names(), b.mounts.Held())
				}
				if n <= skip {
					if skip < 3 {
						t.Fatalf("%s: %d faults only", kind, skip)
					}
					break
				}
			}
		}
	}
}

// TestPowerCut: after a power cut nothing is mounted, and the directories are there still. What was staged is mended and staged again; until then it is not published,
// since a pod would write into the directory beneath. What has no pod any more is cleared away.
func TestPowerCut(t *testing.T) {
	for _, kind := range []string{"zfs", "ext4", "block"} {
		b := newBench(t)
		c := capability(kind)
		kept, left := b.create("a", kind), b.create("b", kind)
		for pod, v := range map[string]*spec.Volume{"p1": kept, "p2": left} {
			b.must(b.stage(v, c))
			b.must(b.publish(v, c, pod, false))
		}
		b.mounts.PowerCut()
		b.start()
		if kind != "block" { // which has nothing to be staged
			b.code(kind+", published before it is staged", b.publish(kept, c, "p1", false), codes.FailedPrecondition)
		}
		b.must(b.stage(kept, c))
		b.must(b.publish(kept, c, "p1", false))
		mounted, err := b.mounts.Mounted(b.ctx)
		b.must(err)
		if last := mounted[len(mounted)-1]; last.Volume != "node/plane/volumes/a" || last.Target != "pods/p1/mount" {
			t.Errorf("%s: mounted %+v", kind, mounted)
		}
		b.must(b.unpublish(left, "p2"))
		b.must(b.unstage(left))
		if b.mounts.KindOf("pods/p2/mount") != "" {
			t.Errorf("%s: the target of the other pod is still there", kind)
		}
		b.must(b.unpublish(kept, "p1"))
		b.must(b.unstage(kept))
		b.remove("a", "b")
	}
}

// TestPaths: what kubelet names lies below its directory.
func TestPaths(t *testing.T) {
	b := newBench(t)
	v := b.create("a", "")
	for _, path := range []string{
		"/etc", "/var/lib/kubelet", "/var/lib/kubelet/", "/var/lib/kubelet/../etc", "/var/lib/kubelet/a/../../etc", "/var/lib/kubelet//a", "/var/lib/kubelet/a/",
		"/var/lib/kubelet/./a", "var/lib/kubelet/a", "a", "/var/lib/kubeletx/a", "/var/lib/kubelet/a\x00", "/",
	} {
		if got, err := b.Target(path); err == nil {
			t.Errorf("%q is taken, as %q", path, got)
		}
		_, err := b.NodeStageVolume(b.ctx, &spec.NodeStageVolumeRequest{VolumeId: "a", StagingTargetPath: path, VolumeCapability: capability("")})
		b.code("stage on "+path, err, codes.InvalidArgument)
		_, err = b.NodeUnpublishVolume(b.ctx, &spec.NodeUnpublishVolumeRequest{VolumeId: "a", TargetPath: path})
		b.code("unpublish "+path, err, codes.InvalidArgument)
		_, err = b.NodeGetVolumeStats(b.ctx, &spec.NodeGetVolumeStatsRequest{VolumeId: "a", VolumePath: path})
		b.code("usage of "+path, err, codes.NotFound)
	}
	b.must(b.stage(v, capability("")))
}

// TestDeviceLock: the name is that by which kubelet looks for a loop device of what is published, and asks for its size; all else is what it is.
func TestDeviceLock(t *testing.T) {
	const dir = "plugins/kubernetes.io/csi/volumeDevices/"
	for target, want := range map[string]string{
		dir + "publish/pvc-1/c0ffee": dir + "pvc-1/dev/c0ffee", dir + "publish/pvc-1": dir + "publish/pvc-1", dir + "publish/pvc-1/a/b": dir + "publish/pvc-1/a/b",
		"csi-mount/target": "csi-mount/target", "pods/p/" + dir + "publish/a/b": "pods/p/" + dir + "publish/a/b",
	} {
		if got := csi.DeviceLock(target); got != want {
			t.Errorf("the lock of %s is %s, want %s", target, got, want)
		}
		if got := csi.PublishedAt(csi.DeviceLock(target)); got != target {
			t.Errorf("%s comes back as %s", target, got)
		}
	}
}

// TestDeviceUsage: kubelet asks for the usage of a device by the file on which it has bound it, of which the node has no mount.
func TestDeviceUsage(t *testing.T) {
	b := newBench(t)
	v := b.create("a", "block", sized(gib, 0))
	const dir = "plugins/kubernetes.io/csi/volumeDevices/"
	b.mounts.MakeDirectory(dir + "publish/pvc-1")
	publish := func(target string) error {
		_, err := b.NodePublishVolume(b.ctx, &spec.NodePublishVolumeRequest{
			VolumeId: "a", VolumeContext: v.GetVolumeContext(), VolumeCapability: capability("block"),
			StagingTargetPath: csi.KubeletDir + "/" + dir + "staging/pvc-1", TargetPath: csi.KubeletDir + "/" + dir + target,
		})
		return err
	}
	b.must(publish("publish/pvc-1/c0ffee"))
	b.code("published where kubelet binds it", publish("pvc-1/dev/c0ffee"), codes.InvalidArgument)
	for _, path := range []string{"publish/pvc-1/c0ffee", "pvc-1/dev/c0ffee"} {
		stats, err := b.NodeGetVolumeStats(b.ctx, &spec.NodeGetVolumeStatsRequest{VolumeId: "a", VolumePath: csi.KubeletDir + "/" + dir + path})
		b.must(err)
		if total := stats.GetUsage()[0].GetTotal(); total != gib {
			t.Errorf("%s: %v", path, stats)
		}
	}
	_, err := b.NodeGetVolumeStats(b.ctx, &spec.NodeGetVolumeStatsRequest{VolumeId: "a", VolumePath: csi.KubeletDir + "/" + dir + "pvc-1/dev/other"})
	b.code("another pod", err, codes.NotFound)
}

// TestDeviceLocked: who has the file on which kubelet has bound a device unpublished does not end what is held for the device, which is published still. A volume
// whose name makes its target look like such a file is published as any other.
func TestDeviceLocked(t *testing.T) {
	b := newBench(t)
	v := b.create("a", "block")
	const dir = "plugins/kubernetes.io/csi/volumeDevices/"
	unpublish := func(target string) {
		t.Helper()
		_, err := b.NodeUnpublishVolume(b.ctx, &spec.NodeUnpublishVolumeRequest{VolumeId: "a", TargetPath: csi.KubeletDir + "/" + target})
		b.must(err)
	}
	for _, name := range []string{"pvc-1", "dev"} {
		target := dir + "publish/" + name + "/c0ffee"
		b.mounts.MakeDirectory(dir + "publish/" + name)
		_, err := b.NodePublishVolume(b.ctx, &spec.NodePublishVolumeRequest{
			VolumeId: "a", VolumeContext: v.GetVolumeContext(), VolumeCapability: capability("block"),
			StagingTargetPath: csi.KubeletDir + "/" + dir + "staging/" + name, TargetPath: csi.KubeletDir + "/" + target,
		})
		b.must(err)
		unpublish(csi.DeviceLock(target))
		if diff := cmp.Diff(map[string]string{target: "node/plane/volumes/a"}, b.mounts.Held()); diff != "" {
			t.Errorf("%s: held and open to pods (-want +got):\n%s", name, diff)
		}
		unpublish(target)
		if held := b.mounts.Held(); len(held) > 0 {
			t.Errorf("%s: in the end, held is %v", name, held)
		}
	}
}
