package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/machined"
	"github.com/cyvive/cyvive/internal/machined/boot/kmod"
	"github.com/cyvive/cyvive/internal/machined/server/inventory"
	"github.com/cyvive/cyvive/internal/machined/server/inventory/device"
	"github.com/cyvive/cyvive/internal/storage/arc"
	"github.com/cyvive/cyvive/internal/storage/blockdev"
	"github.com/cyvive/cyvive/internal/storage/dataset"
	"github.com/cyvive/cyvive/internal/storage/disk"
	"github.com/cyvive/cyvive/internal/storage/mount"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/pool/events"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/hostid"
)

// poolLab is what the agent looks after pools with, on the real kernel and an empty disk of a virtual machine.
type poolLab struct {
	*machined.Pools
	t       *testing.T
	scratch string
	blocks  *blockdev.Disk
	disks   machined.PoolDisks
	memory  machined.PoolMemory
	// vault is nil where no disk is encrypted.
	vault machined.DiskVault
}

// labMachine is the machine ID of the lab.
const labMachine = "0123456789abcdef0123456789abcdef"

func newPoolLab(t *testing.T) *poolLab {
	t.Helper()
	return newSealedLab(t, nil)
}

// newSealedLab is newPoolLab with what encrypts disks.
func newSealedLab(t *testing.T, vault machined.DiskVault) *poolLab {
	t.Helper()
	requireVM(t, "OpenZFS in a kernel of its own, and an empty disk")
	l := &poolLab{t: t, vault: vault, blocks: blockdev.New(blockdev.Tools{Mke2fs: "/usr/bin/mke2fs", E2fsck: "/usr/bin/e2fsck"}, t.TempDir())}
	if l.scratch, _, _ = strings.Cut(os.Getenv("CYVIVE_VM_DISKS"), ":"); l.scratch == "" {
		t.Fatal("this machine has no empty disk")
	}
	log, state, hardware := slog.New(slog.DiscardHandler), t.TempDir(), inventory.New("/", device.Devices{Dir: "/dev"}, time.Now)
	if _, err := os.Stat(zfsDevice); err != nil {
		if p, why := poolsOf(log, programs(), l.blocks, nil, hardware, "", state); p != nil || !strings.Contains(why, "module is not loaded") {
			t.Errorf("without the module: %v, %q", p, why)
		}
	}
	mods, err := kmod.Open("/usr/lib/modules")
	l.must(err)
	l.must(mods.Load("zfs"))
	l.must(os.WriteFile(filepath.Join(state, "machine-id"), []byte(labMachine+"\n"), 0o600))
	var why string
	if l.Pools, why = poolsOf(log, programs(), l.blocks, l.vault, hardware, "", state); l.Pools == nil {
		t.Fatal(why)
	}
	l.disks = machined.PoolDisks{Inventory: hardware, Kernel: diskKernel{l.blocks}, Vault: l.vault}
	l.memory = machined.PoolMemory{Path: filepath.Join(state, "pools.json")}
	t.Cleanup(func() {
		ctx := context.Background()
		pools, err := l.Control.Pools(ctx)
		if err != nil {
			t.Error(err)
		}
		for _, p := range pools {
			if err := l.Control.Destroy(ctx, p.Name); err != nil {
				t.Error(err)
			}
		}
		if err := blockdev.Wipe(ctx, l.scratch); err != nil {
			t.Error(err)
		}
	})
	l.must(blockdev.Wipe(t.Context(), l.scratch))
	return l
}

func (l *poolLab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// disk is the empty one as it is now.
func (l *poolLab) disk() pool.Disk {
	l.t.Helper()
	all, err := l.disks.Disks(l.t.Context())
	l.must(err)
	i := slices.IndexFunc(all, func(d pool.Disk) bool { return d.Device == l.scratch })
	if i < 0 {
		l.t.Fatalf("%s is not among %v", l.scratch, all)
	}
	return all[i]
}

// converge runs the loop of pools to its end, and returns what was done.
func (l *poolLab) converge(spec pool.Spec) (done []string, status pool.Status) {
	l.t.Helper()
	for range 8 {
		obs, err := l.Domain.Observe(l.t.Context(), spec)
		l.must(err)
		ops := l.Domain.Diff(spec, obs)
		if len(ops) == 0 {
			return done, l.Domain.Status(spec, obs)
		}
		for _, op := range ops {
			l.must(l.Domain.Apply(l.t.Context(), spec, op))
			done = append(done, string(op.Verb))
		}
	}
	l.t.Fatalf("it does not end: %q", done)
	return nil, pool.Status{}
}

// TestVMPoolDisks: on the real kernel a disk is known by its identity, and made ready only as it was chosen.
func TestVMPoolDisks(t *testing.T) {
	l := newPoolLab(t)
	ctx := t.Context()
	empty := l.disk()
	if empty.Contents != "" || empty.Label != nil || empty.Use != "" || empty.Problem != "" || empty.SizeBytes == 0 || empty.System || len(empty.Names()) == 0 && empty.Path == "" {
		t.Fatalf("the empty disk: %+v", empty)
	}
	l.must(l.blocks.Format(ctx, l.scratch, "data"))
	used := l.disk()
	if !strings.Contains(used.Contents, "ext4") || used.Key() != empty.Key() {
		t.Errorf("with a file system: %+v", used)
	}
	if _, err := l.disks.Prepare(ctx, empty, false); err == nil || !strings.Contains(err.Error(), "it is not as it was") {
		t.Errorf("chosen when it was blank: %v", err)
	}
	var mounts mount.Mounts
	target := t.TempDir()
	l.must(mounts.Mount(l.scratch, target, "ext4", nil))
	if _, err := l.disks.Prepare(ctx, used, false); err == nil || !strings.Contains(err.Error(), "is mounted on "+target) {
		t.Errorf("while it is mounted: %v", err)
	}
	l.must(mounts.Unmount(target))
	for range 2 { // it may be repeated, for the disk as it was chosen
		leaf, err := l.disks.Prepare(ctx, used, false)
		l.must(err)
		if info, err := os.Stat(leaf); err != nil || info.Mode()&os.ModeDevice == 0 || !strings.HasPrefix(leaf, l.scratch) {
			t.Errorf("leaf %s: %v, %v", leaf, info, err)
		}
		if d := l.disk(); d.Contents != "" || d.Label != nil || d.GrowableBytes != 0 || !slices.Contains(d.Devices, leaf) {
			t.Errorf("made ready: %+v", d)
		}
	}
}

// TestVMPoolDomain makes a pool of a declared disk, remembers it, loses it and finds it again; and what the kernel reports is heard.
func TestVMPoolDomain(t *testing.T) {
	l := newPoolLab(t)
	ctx := t.Context()
	d := l.disk()
	spec := pool.Spec{Pools: []pool.PoolSpec{{
		Name: "tank", Vdevs: []pool.VdevSpec{{Disks: []disk.Selector{{Serial: d.Serial, WWN: d.WWN, Path: d.Path}}}},
	}}}
	done, status := l.converge(spec)
	if !slices.Contains(done, string(pool.CreatePool)) || !slices.Contains(done, string(pool.Remember)) || !status.Ready || len(status.Pools) != 1 || !status.Pools[0].Healthy {
		t.Fatalf("done %q, status %+v", done, status)
	}
	// By this, zpool asks before it takes a pool of another machine that was not exported.
	if got, err := os.ReadFile("/sys/module/spl/parameters/spl_hostid"); err != nil || strings.TrimSpace(string(got)) != fmt.Sprint(hostid.Of(labMachine)) {
		t.Errorf("ZFS takes this machine for %q, %v", got, err)
	}
	guid := status.Pools[0].GUID
	if known, err := l.memory.Remembered(ctx); err != nil || known["tank"] != guid {
		t.Errorf("remembered %v, %v, want %s", known, err, guid)
	}
	member := l.disk()
	if member.Label == nil || member.Label.Pool != "tank" || member.Label.PoolGUID != guid || member.Label.State != pool.LabelActive {
		t.Errorf("the disk says %+v", member.Label)
	}
	if _, err := l.disks.Prepare(ctx, member, false); !errors.Is(err, unix.EBUSY) {
		t.Errorf("made ready while its pool is imported: %v, want %v", err, unix.EBUSY)
	}
	heard, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	enough := errors.New("enough")
	if _, err := events.Follow(heard, l.Events, events.Mark{}, func(e events.Event) error {
		if e.Class == events.PoolCreate && e.Pool == "tank" && e.PoolGUID == guid {
			return enough
		}
		return nil
	}); !errors.Is(err, enough) {
		t.Errorf("the pool's event was not heard: %v", err)
	}
	l.must(l.Control.Export(ctx, "tank"))
	if m := l.disk(); m.Label == nil || m.Label.State != pool.LabelExported {
		t.Errorf("after the export the disk says %+v", m.Label)
	}
	if done, status = l.converge(spec); !slices.Equal(done, []string{string(pool.ImportPool)}) || !status.Ready || status.Pools[0].GUID != guid {
		t.Errorf("after the export: done %q, status %+v", done, status)
	}
	// Without its disk's label it is missing, and is not made anew.
	l.must(l.Control.Export(ctx, "tank"))
	l.must(blockdev.Wipe(ctx, l.scratch))
	if done, status = l.converge(spec); len(done) > 0 || status.Ready || len(status.Pools[0].Conditions) != 1 || status.Pools[0].Conditions[0].Kind != pool.Missing {
		t.Errorf("with a blank disk in its place: done %q, status %+v", done, status)
	}
}

// TestVMDatasetMounts: what is declared is mounted below a directory that others write in, through no link; what it is mounted on cannot be written in without it.
func TestVMDatasetMounts(t *testing.T) {
	l := newPoolLab(t)
	ctx := t.Context()
	leaf, err := l.disks.Prepare(ctx, l.disk(), false)
	l.must(err)
	l.must(l.Control.Create(ctx, pool.Creation{
		Pool: "tank", Groups: []pool.Group{{Devices: []string{leaf}}}, FileSystem: map[string]string{"mountpoint": "none", "canmount": "off"},
	}))
	l.must(l.Datasets.Create(ctx, "tank/plane", zfs.CreateOptions{Properties: map[string]string{"mountpoint": "legacy"}}))
	var mounts mount.Mounts
	root := t.TempDir()
	l.must(mounts.Mount("tank/plane", root, "zfs", nil))
	below := mount.Below{Root: root, Seen: "/var", Within: "/var/mnt"}
	t.Cleanup(func() {
		for _, target := range []string{"/var/mnt/a/data", "/var/mnt/moved"} {
			if err := below.Unmount(context.Background(), target); err != nil {
				t.Error(err)
			}
		}
		if err := mounts.Unmount(root); err != nil {
			t.Error(err)
		}
	})
	domain := dataset.NewMounting(l.Datasets, below, func() time.Duration { return time.Hour })
	spec := dataset.Spec{Roots: []string{"tank"}, Datasets: []dataset.Dataset{{
		Name: "tank/data", Kind: zfs.Filesystem, Properties: map[string]string{"compression": "zstd", "mountpoint": "/var/mnt/a/data"},
		Target: "/var/mnt/a/data", Options: []string{"nodev", "nosuid", "noexec"},
	}}}
	pass := func() dataset.Status {
		t.Helper()
		for range 6 {
			obs, err := domain.Observe(ctx, spec)
			l.must(err)
			ops := domain.Diff(spec, obs)
			if len(ops) == 0 {
				return domain.Status(spec, obs)
			}
			for _, op := range ops {
				l.must(domain.Apply(ctx, spec, op))
			}
		}
		t.Fatal("it does not end")
		return dataset.Status{}
	}
	if s := pass(); !s.Ready {
		t.Fatalf("not ready: %s", s.Reason)
	}
	if on, err := below.Mounted(ctx); err != nil || len(on) != 1 || on["/var/mnt/a/data"] != "tank/data" {
		t.Errorf("mounted %v, %v", on, err)
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(root+"/mnt/a/data", &stat); err != nil || stat.Flags&(unix.ST_NODEV|unix.ST_NOSUID|unix.ST_NOEXEC) != unix.ST_NODEV|unix.ST_NOSUID|unix.ST_NOEXEC {
		t.Errorf("flags %#x, %v", stat.Flags, err)
	}
	file := root + "/mnt/a/data/file"
	l.must(os.WriteFile(file, []byte("kept"), 0o600))
	open, err := os.Open(file)
	l.must(err)
	if err := below.Unmount(ctx, "/var/mnt/a/data"); !errors.Is(err, zfs.ErrBusy) {
		t.Errorf("unmount what is open: %v", err)
	}
	l.must(open.Close())
	spec.Datasets[0].Target = "/var/mnt/moved"
	if s := pass(); !s.Ready {
		t.Errorf("moved: %s", s.Reason)
	}
	if data, err := os.ReadFile(root + "/mnt/moved/file"); err != nil || string(data) != "kept" {
		t.Errorf("moved: %q, %v", data, err)
	}
	if err := os.WriteFile(file, nil, 0o600); !errors.Is(err, unix.EPERM) {
		t.Errorf("write beneath what is not mounted: %v, want %v", err, unix.EPERM)
	}
	l.must(os.Symlink("/tmp", root+"/mnt/evil"))
	for _, target := range []string{"/var/mnt/evil", "/var/mnt/evil/x", "/var/mnt/../x", "/etc/x", "/var/mnt"} {
		if err := below.Mount(ctx, "tank/plane", target, nil); err == nil {
			t.Errorf("mounted on %s", target)
		}
	}
	for range 2 {
		l.must(below.Seal(ctx, "/var/mnt/late/a"))
	}
	if err := os.WriteFile(root+"/mnt/late/a/file", nil, 0o600); !errors.Is(err, unix.EPERM) {
		t.Errorf("write where nothing is mounted yet: %v, want %v", err, unix.EPERM)
	}
	l.must(os.Mkdir(root+"/mnt/used", 0o755))
	l.must(os.WriteFile(root+"/mnt/used/file", nil, 0o600))
	for what, err := range map[string]error{"seal": below.Seal(ctx, "/var/mnt/used"), "mount": below.Mount(ctx, "tank/plane", "/var/mnt/used", nil)} {
		if err == nil || !strings.Contains(err.Error(), "it holds files of others") {
			t.Errorf("%s where somebody has written: %v", what, err)
		}
	}
	l.must(os.WriteFile(root+"/mnt/used/another", nil, 0o600))
	if err := below.Unmount(ctx, "/var/mnt/nobody/x"); err != nil {
		t.Errorf("unmount where nothing is: %v", err)
	}
}

// TestVMReadOnlyHasWhatWasSynced: what was synced right before the power failed is there, though the file system has become read-only before it was mounted again, as that
// of a primary that another has taken the place of. When it may be written in again, it is.
func TestVMReadOnlyHasWhatWasSynced(t *testing.T) {
	l := newPoolLab(t)
	ctx := t.Context()
	leaf, err := l.disks.Prepare(ctx, l.disk(), false)
	l.must(err)
	l.must(l.Control.Create(ctx, pool.Creation{
		Pool: "tank", Groups: []pool.Group{{Devices: []string{leaf}}}, FileSystem: map[string]string{"mountpoint": "none", "canmount": "off"},
	}))
	pools, err := l.Control.Pools(ctx)
	l.must(err)
	for _, name := range []string{"tank/plane", "tank/data"} {
		l.must(l.Datasets.Create(ctx, name, zfs.CreateOptions{Properties: map[string]string{"mountpoint": "legacy"}}))
	}
	var mounts mount.Mounts
	root := t.TempDir()
	below := mount.Below{Root: root, Seen: "/var", Within: "/var/mnt"}
	file := root + "/mnt/data/file"
	up := func() {
		t.Helper()
		l.must(mounts.Mount("tank/plane", root, "zfs", nil))
		l.must(below.Mount(ctx, "tank/data", "/var/mnt/data", nil))
	}
	down := func() {
		if err := errors.Join(below.Unmount(context.Background(), "/var/mnt/data"), mounts.Unmount(root)); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(down)
	synced := func(text string) {
		t.Helper()
		f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		l.must(err)
		_, err = f.WriteString(text)
		l.must(errors.Join(err, f.Sync(), f.Close()))
	}
	up()
	synced("first")
	// From here on nothing but logs comes onto the disk, as if the power failed before the next transaction group.
	if out, err := exec.Command("/usr/bin/zpool", "freeze", "tank").CombinedOutput(); err != nil {
		t.Fatalf("freeze: %v: %s", err, out)
	}
	synced(", last")
	down()
	l.must(l.Control.Export(ctx, "tank"))
	l.must(l.Control.Import(ctx, pool.Import{GUID: pools[0].GUID, Devices: []string{leaf}}))
	l.must(l.Datasets.Set(ctx, "tank/data", map[string]string{"readonly": "on"}))
	up()
	if data, err := os.ReadFile(file); err != nil || string(data) != "first, last" {
		t.Errorf("%q, %v", data, err)
	}
	if err := os.WriteFile(file, nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("write what is read-only: %v, want %v", err, unix.EROFS)
	}
	l.must(l.Datasets.Set(ctx, "tank/data", map[string]string{"readonly": "off"}))
	synced(", and more")
}

// TestVMCacheLimits: the module takes both limits, the smaller one first, and says so.
func TestVMCacheLimits(t *testing.T) {
	l := newPoolLab(t)
	if l.MemoryBytes < 64<<20 {
		t.Errorf("the machine has %d bytes of memory", l.MemoryBytes)
	}
	var g arc.Governor
	for _, rule := range []uint64{128 << 20, 96 << 20, arc.FloorBytes, 112 << 20} {
		g = arc.Governor{}
		limits, err := g.Step(time.Now(), l.Cache, rule)
		if err != nil || limits.MaxBytes > rule || limits.MinBytes != arc.MinBytes {
			t.Fatalf("rule of %d: %+v, %v", rule, limits, err)
		}
		if s, err := l.Cache.Stats(); err != nil || s.MaxBytes != limits.MaxBytes || s.MinBytes != limits.MinBytes {
			t.Errorf("the module says %+v, %v, want %+v", s, err, limits)
		}
	}
}
