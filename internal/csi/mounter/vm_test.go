package mounter_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cyvive/cyvive/internal/csi"
	"github.com/cyvive/cyvive/internal/csi/csitest/sanitytest"
	"github.com/cyvive/cyvive/internal/csi/mounter"
	"github.com/cyvive/cyvive/internal/csi/pools"
	"github.com/cyvive/cyvive/internal/machined/boot/kmod"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/command"
)

const (
	pool   = "csi"
	parent = pool + "/volumes"
	mib    = 1 << 20
)

// lab is a driver on real OpenZFS, in a virtual machine.
type lab struct {
	*csi.Driver
	t      *testing.T
	ctx    context.Context
	root   string
	run    command.Runner
	file   string
	system *command.System
	listed *listed
}

// listed are the devices that pods may open. In the kernel they are the business of package confine/lsm.
type listed struct {
	mu      sync.Mutex
	devices map[uint32]bool
}

func (l *listed) Admit(device uint32) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.devices[device] = true
	return nil
}

func (l *listed) Refuse(device uint32) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.devices, device)
	return nil
}

func (l *listed) Admitted() ([]uint32, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.devices)), nil
}

// mounter returns one that knows nothing of the one before, as that of an agent that was started again.
func (l *lab) mounter() *mounter.Mounter {
	return mounter.New(l.root, tools, mounter.Devices{KubeletDir: l.root, List: l.listed, Load: func() error { return nil }})
}

var tools = mounter.Tools{Mke2fs: "/usr/bin/mke2fs", E2fsck: "/usr/bin/e2fsck"}

// long says whether the long forms of tests are asked for, with LONG=1: csi-sanity has hundreds of programs run, each for a quarter of a second without hardware support.
func long() bool { return os.Getenv("LONG") == "1" }

// longOnly skips a test in a machine of the test runner unless the long forms are asked for.
func longOnly(t *testing.T) {
	t.Helper()
	if os.Getenv("CYVIVE_VM") == "1" && !long() {
		t.Skipf("takes long: make soak runs it, and so does LONG=1 make vm-test RUN='^%s$'", t.Name())
	}
}

// newLab loads OpenZFS, makes a pool on a file in memory, and a directory for kubelet on a mount of its own, as the node has it.
func newLab(t *testing.T) *lab {
	t.Helper()
	if os.Getenv("CYVIVE_VM") != "1" {
		if os.Getenv("REQUIRE_VM") == "1" {
			t.Fatal("REQUIRE_VM=1, but this is no virtual machine of the test runner")
		}
		t.Skip("needs the VM test runner: it loads OpenZFS and mounts")
	}
	l := &lab{t: t, ctx: t.Context(), root: t.TempDir(), listed: &listed{devices: map[uint32]bool{}}}
	mods, err := kmod.Open("/usr/lib/modules")
	l.must(err)
	for _, module := range []string{"zfs", "loop", "ext4", "xfs"} {
		if err := mods.Load(module); err != nil && (module == "zfs" || module == "loop") {
			t.Fatal(err)
		}
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err := os.Stat("/dev/zfs"); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	l.run = command.Runner{ZFSPath: "/usr/bin/zfs", ZpoolPath: "/usr/bin/zpool"}
	l.file = filepath.Join(t.TempDir(), "pool")
	l.must(errors.Join(os.WriteFile(l.file, nil, 0o600), os.Truncate(l.file, 512*mib)))
	l.zpool("create", "-o", "ashift=12", "-o", "cachefile=none", "-O", "mountpoint=none", "--", pool, l.file)
	l.system = command.NewSystem(l.run)
	l.must(l.system.Create(l.ctx, parent, zfs.CreateOptions{}))
	l.must(unix.Mount("kubelet", l.root, "tmpfs", 0, ""))
	t.Cleanup(func() {
		_ = unix.Unmount(l.root, unix.MNT_DETACH)
		if _, err := l.run.Zpool(context.Background(), "destroy", "-f", "--", pool); err != nil {
			t.Errorf("destroy pool: %v", err)
		}
	})
	l.Driver, err = csi.New(csi.Config{
		NodeName: "n1", Version: "1.0.0", Parents: []string{parent}, KubeletDir: l.root, FileSystems: tools.FileSystems(),
		System: l.system, Mounts: l.mounter(), Pools: pools.New(pools.Kstats, l.run),
	})
	l.must(err)
	return l
}

// zpool runs zpool.
func (l *lab) zpool(args ...string) {
	l.t.Helper()
	_, err := l.run.Zpool(l.ctx, args...)
	l.must(err)
}

func (l *lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// left are datasets and snapshots below the parent.
func (l *lab) left() []string {
	l.t.Helper()
	found, err := l.system.List(l.ctx, zfs.Query{Roots: []string{parent}, Depth: -1})
	l.must(err)
	var names []string
	for _, d := range found {
		if d.Name != parent && d.Name != parent+"/_deleted" {
			names = append(names, d.Name)
		}
	}
	return names
}

// TestVMSanity runs the whole of csi-sanity on real OpenZFS, for each kind of volume.
func TestVMSanity(t *testing.T) {
	longOnly(t)
	l := newLab(t)
	socket := filepath.Join(t.TempDir(), "csi.sock")
	listener, err := net.Listen("unix", socket)
	l.must(err)
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- l.Serve(ctx, listener, csi.Kubelet|csi.Controllers) }()
	defer func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	sanitytest.Run(t, 12*time.Hour, func() sanity.TestConfig {
		c := sanity.NewTestConfig()
		c.Address, c.TestVolumeSize, c.TestVolumeExpandSize = "unix://"+socket, 64*mib, 96*mib
		c.TargetPath, c.StagingPath = filepath.Join(l.root, "csi-mount"), filepath.Join(l.root, "csi-staging")
		return c
	})
	if left := l.left(); len(left) > 0 {
		t.Errorf("left behind: %s", strings.Join(left, ", "))
	}
}

// capability of a volume that pods of one node share.
func capability(fileSystem string) *spec.VolumeCapability {
	c := &spec.VolumeCapability{AccessMode: &spec.VolumeCapability_AccessMode{Mode: spec.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER}}
	c.AccessType = &spec.VolumeCapability_Mount{Mount: &spec.VolumeCapability_MountVolume{FsType: fileSystem}}
	if fileSystem == "block" {
		c.AccessType = &spec.VolumeCapability_Block{Block: &spec.VolumeCapability_BlockVolume{}}
	}
	return c
}

// create makes a volume of a source, which may be empty.
func (l *lab) create(name, kind, source string, bytes int64) {
	l.t.Helper()
	r := &spec.CreateVolumeRequest{
		Name: name, VolumeCapabilities: []*spec.VolumeCapability{capability(kind)}, CapacityRange: &spec.CapacityRange{RequiredBytes: bytes},
		Parameters: map[string]string{"sparse": "true"},
	}
	if source != "" {
		r.VolumeContentSource = &spec.VolumeContentSource{Type: &spec.VolumeContentSource_Volume{Volume: &spec.VolumeContentSource_VolumeSource{VolumeId: source}}}
	}
	_, err := l.CreateVolume(l.ctx, r)
	l.must(err)
}

// give stages and publishes a volume for a pod, and returns where.
func (l *lab) give(id, kind, pod string, readOnly bool) string {
	l.t.Helper()
	staging, target := filepath.Join(l.root, "staging-"+id), filepath.Join(l.root, "pods", pod, "mount")
	l.must(errors.Join(os.MkdirAll(staging, 0o700), os.MkdirAll(filepath.Dir(target), 0o700)))
	_, err := l.NodeStageVolume(l.ctx, &spec.NodeStageVolumeRequest{VolumeId: id, StagingTargetPath: staging, VolumeCapability: capability(kind)})
	l.must(err)
	_, err = l.NodePublishVolume(l.ctx, &spec.NodePublishVolumeRequest{
		VolumeId: id, StagingTargetPath: staging, TargetPath: target, VolumeCapability: capability(kind), Readonly: readOnly,
	})
	l.must(err)
	return target
}

// take undoes give.
func (l *lab) take(id string, pods ...string) {
	l.t.Helper()
	for _, pod := range pods {
		_, err := l.NodeUnpublishVolume(l.ctx, &spec.NodeUnpublishVolumeRequest{VolumeId: id, TargetPath: filepath.Join(l.root, "pods", pod, "mount")})
		l.must(err)
	}
	_, err := l.NodeUnstageVolume(l.ctx, &spec.NodeUnstageVolumeRequest{VolumeId: id, StagingTargetPath: filepath.Join(l.root, "staging-"+id)})
	l.must(err)
}

// TestVMReadOnlyHasWhatWasSynced: what a pod synced right before the power failed is there for the next, though the volume has become read-only before it was mounted
// again, as replication has it where another node has taken over.
func TestVMReadOnlyHasWhatWasSynced(t *testing.T) {
	l := newLab(t)
	l.create("logged", "zfs", "", 64*mib)
	synced := func(dir, text string) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(dir, "file"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		l.must(err)
		_, err = f.WriteString(text)
		l.must(errors.Join(err, f.Sync(), f.Close()))
	}
	dir := l.give("logged", "zfs", "a", false)
	synced(dir, "first")
	l.zpool("freeze", pool) // only logs come onto the disk from here on, as if the power failed before the next transaction group
	synced(dir, ", last")
	l.take("logged", "a")
	l.zpool("export", pool)
	l.zpool("import", "-N", "-d", l.file, "-o", "cachefile=none", pool)
	l.must(l.system.Set(l.ctx, parent+"/logged", map[string]string{"readonly": "on"}))
	dir = l.give("logged", "zfs", "b", false)
	if data, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(data) != "first, last" {
		t.Errorf("%q, %v", data, err)
	}
	l.take("logged", "b")
}

// TestVMLife: what a pod writes is there for the next and in a clone, a volume grows under it, and none is deleted while it is used. A device with a file system
// has its turn with LONG=1.
func TestVMLife(t *testing.T) {
	l := newLab(t)
	kinds := []string{"zfs"}
	if long() {
		kinds = append(kinds, "ext4")
	}
	for _, kind := range kinds {
		l.create("a", kind, "", 32*mib)
		target := l.give("a", kind, "p1", false)
		data := bytes.Repeat([]byte("cyvive\n"), 1000)
		l.must(os.WriteFile(target+"/file", data, 0o600))
		shown := l.give("a", kind, "p2", true)
		if err := os.WriteFile(shown+"/file", nil, 0o600); !errors.Is(err, unix.EROFS) {
			t.Errorf("%s: write to a read-only mount: %v", kind, err)
		}
		if _, err := l.DeleteVolume(l.ctx, &spec.DeleteVolumeRequest{VolumeId: "a"}); status.Code(err) != codes.FailedPrecondition {
			t.Errorf("%s: delete while it is used: %v", kind, err)
		}
		var before, after unix.Statfs_t
		l.must(unix.Statfs(target, &before))
		_, err := l.NodeExpandVolume(l.ctx, &spec.NodeExpandVolumeRequest{VolumeId: "a", VolumePath: target, CapacityRange: &spec.CapacityRange{RequiredBytes: 64 * mib}})
		l.must(err)
		l.must(unix.Statfs(target, &after))
		if after.Blocks*uint64(after.Bsize) < before.Blocks*uint64(before.Bsize)+24*mib {
			t.Errorf("%s: grew from %d to %d blocks", kind, before.Blocks, after.Blocks)
		}
		unix.Sync()
		l.create("b", kind, "a", 96*mib)
		clone := l.give("b", kind, "p3", false) // beside its origin, which has the same UUID
		if got, err := os.ReadFile(clone + "/file"); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: the clone has %d bytes, %v", kind, len(got), err)
		}
		if err := unix.Mknod(clone+"/null", unix.S_IFCHR|0o666, 1<<8|3); err == nil {
			if _, err := os.Open(clone + "/null"); !errors.Is(err, unix.EACCES) {
				t.Errorf("%s: a device on a volume was opened: %v", kind, err)
			}
		}
		l.take("a", "p1", "p2")
		l.take("b", "p3")
		for _, id := range []string{"a", "b"} {
			_, err := l.DeleteVolume(l.ctx, &spec.DeleteVolumeRequest{VolumeId: id})
			l.must(err)
		}
		if left := l.left(); len(left) > 0 {
			t.Errorf("%s: left %v", kind, left)
		}
	}
}

// TestVMBlock: a device is the volume's own, and shows no partitions. It is held, and pods may open it, for as long as it is published, whatever becomes of the
// agent; and kubelet finds the loop device that it is held by.
func TestVMBlock(t *testing.T) {
	longOnly(t)
	l := newLab(t)
	l.create("a", "block", "", 16*mib)
	l.create("b", "block", "", 32*mib)
	for id, want := range map[string]int64{"a": 16 * mib, "b": 32 * mib} {
		target := l.give(id, "block", id, false)
		f, err := os.OpenFile(target, os.O_RDWR, 0)
		l.must(err)
		size, err := f.Seek(0, 2)
		if err != nil || size != want {
			t.Errorf("%s has %d bytes, %v", id, size, err)
		}
		var s unix.Stat_t
		l.must(unix.Fstat(int(f.Fd()), &s))
		if got, _ := l.listed.Admitted(); !slices.Equal(got, []uint32{unix.Major(s.Rdev)<<20 | unix.Minor(s.Rdev)}) || unix.Major(s.Rdev) != 230 {
			t.Errorf("%s is device %#x, and on the list are %#x", id, s.Rdev, got)
		}
		// The kernel looks for none: BLKRRPART of include/uapi/linux/fs.h.
		if err := unix.IoctlSetInt(int(f.Fd()), 0x125f, 0); !errors.Is(err, unix.EINVAL) {
			t.Errorf("%s is looked at for partitions: %v", id, err)
		}
		f.Close()
		l.take(id, id)
		if got, _ := l.listed.Admitted(); len(got) > 0 || len(l.holders(l.root)) > 0 {
			t.Errorf("%s was taken back, on the list are %#x, and held is %v", id, got, l.holders(l.root))
		}
	}
}

// TestVMBlockHeld goes through the life of a device as kubelet's calls make it, with the agent killed in between.
func TestVMBlockHeld(t *testing.T) {
	l := newLab(t)
	l.create("a", "block", "", 16*mib)
	const devices = "plugins/kubernetes.io/csi/volumeDevices"
	at := func(parts ...string) string { return filepath.Join(append([]string{l.root, devices}, parts...)...) }
	staging := at("staging", "pv")
	l.must(errors.Join(os.MkdirAll(staging, 0o750), os.MkdirAll(at("publish", "pv"), 0o750)))
	publish := func(pod string) {
		t.Helper()
		_, err := l.NodePublishVolume(l.ctx, &spec.NodePublishVolumeRequest{
			VolumeId: "a", StagingTargetPath: staging, TargetPath: at("publish", "pv", pod), VolumeCapability: capability("block"),
		})
		l.must(err)
	}
	unpublish := func(pod string) {
		t.Helper()
		_, err := l.NodeUnpublishVolume(l.ctx, &spec.NodeUnpublishVolumeRequest{VolumeId: "a", TargetPath: at("publish", "pv", pod)})
		l.must(err)
	}
	is := func(what string, listed int, held ...string) {
		t.Helper()
		if got, _ := l.listed.Admitted(); len(got) != listed {
			t.Errorf("%s: on the list are %#x, want %d", what, got, listed)
		}
		// The text that kubelet compares with its path (getLoopDeviceFromSysfs in pkg/volume/util/volumepathhandler).
		if got := l.holders(l.root); !slices.Equal(got, held) {
			t.Errorf("%s: held is %q, want %q", what, got, held)
		}
	}
	publish("p1")
	publish("p2")
	is("two pods", 1, at("pv", "dev", "p1"), at("pv", "dev", "p2"))
	l.must(l.mounter().RestoreDevices(l.ctx))
	is("the next agent", 1, at("pv", "dev", "p1"), at("pv", "dev", "p2"))
	l.listed.devices = map[uint32]bool{7 << 20: true}
	l.must(l.mounter().RestoreDevices(l.ctx))
	is("one that finds another list", 1, at("pv", "dev", "p1"), at("pv", "dev", "p2"))
	unpublish("p1")
	unpublish("p1")
	is("one pod less", 1, at("pv", "dev", "p2"))

	// Killed when the second was unmounted: the volume is held, so that its number stays its own, until the next agent is there.
	l.must(unix.Unmount(at("publish", "pv", "p2"), 0))
	if err := l.system.Destroy(l.ctx, parent+"/a"); !errors.Is(err, zfs.ErrBusy) {
		t.Errorf("destroyed while it is held: %v", err)
	}
	l.must(l.mounter().RestoreDevices(l.ctx))
	for end := time.Now().Add(10 * time.Second); len(l.holders(l.root)) > 0 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond) // nobody waits for it at the start
	}
	is("an agent that finds nothing bound", 0)
	unpublish("p2")
	var err error
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err = l.DeleteVolume(l.ctx, &spec.DeleteVolumeRequest{VolumeId: "a"}); err == nil || time.Now().After(end) {
			break // the device is closed some moments after the loop device says nothing of it any more
		}
	}
	l.must(err)
	if left := l.left(); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// holders are the paths below a directory that loop devices are on, as they say it.
func (l *lab) holders(dir string) []string {
	l.t.Helper()
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	l.must(err)
	var all []string
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && strings.HasPrefix(string(text), dir+"/") {
			all = append(all, strings.TrimSuffix(string(text), "\n"))
		}
	}
	slices.Sort(all)
	return all
}

// TestVMPlanted: a link that somebody in the plane has put in the way is not followed by a mount.
func TestVMPlanted(t *testing.T) {
	longOnly(t)
	l := newLab(t)
	l.create("a", "zfs", "", 16*mib)
	outside := t.TempDir()
	l.must(os.Symlink(outside, filepath.Join(l.root, "staging-a")))
	_, err := l.NodeStageVolume(l.ctx, &spec.NodeStageVolumeRequest{
		VolumeId: "a", StagingTargetPath: filepath.Join(l.root, "staging-a"), VolumeCapability: capability("zfs"),
	})
	if err == nil {
		t.Error("staged on a link")
	}
	l.must(os.Mkdir(filepath.Join(outside, "deep"), 0o700))
	_, err = l.NodeStageVolume(l.ctx, &spec.NodeStageVolumeRequest{
		VolumeId: "a", StagingTargetPath: filepath.Join(l.root, "staging-a", "deep"), VolumeCapability: capability("zfs"),
	})
	if err == nil {
		t.Error("staged behind a link")
	}
	text, err := os.ReadFile("/proc/self/mountinfo")
	l.must(err)
	if strings.Contains(string(text), parent+"/a") {
		t.Error("it is mounted somewhere")
	}
}

// TestVMPools: the kernel's files say of a pool what its program does.
func TestVMPools(t *testing.T) {
	longOnly(t)
	l := newLab(t)
	out, err := command.Runner{ZFSPath: "/usr/bin/zfs", ZpoolPath: "/usr/bin/zpool"}.Zpool(l.ctx, "list", "-H", "-p", "-o", "guid,health", "--", pool)
	l.must(err)
	got, err := l.Pools.Pool(l.ctx, pool)
	l.must(err)
	if said := got.GUID.String() + "\t" + got.State; said != strings.TrimSpace(string(out)) {
		t.Errorf("the kernel says %q, and zpool %q", said, out)
	}
	if lost, err := l.Pools.DataErrors(l.ctx, pool); lost != 0 || err != nil {
		t.Errorf("a new pool has lost %d blocks, %v", lost, err)
	}
	if got, err := l.Pools.Pool(l.ctx, "other"); !errors.Is(err, zfs.ErrNotExist) {
		t.Errorf("a pool that is not there: %+v, %v", got, err)
	}
}
