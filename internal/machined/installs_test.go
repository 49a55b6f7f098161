package machined

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	installv1 "github.com/cyvive/cyvive/api/proto/install/v1"
	inventoryv1 "github.com/cyvive/cyvive/api/proto/inventory/v1"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/configstore"
	"github.com/cyvive/cyvive/internal/machined/install"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/upgrade"
	"github.com/cyvive/cyvive/internal/release"
	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/blockdev"
)

// smallRelease is a root of two blocks with its tree and kernel image.
type smallRelease struct{ root, tree, kernel []byte }

// newSmallRelease returns a release and its root hash. The tree has one block behind its superblock (cryptsetup, docs/on-disk-format-verity).
func newSmallRelease(fill byte) (smallRelease, string) {
	const block = 4096
	r := smallRelease{root: bytes.Repeat([]byte{fill}, 2*block), tree: make([]byte, 2*block)}
	copy(r.tree, "verity\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00")
	copy(r.tree[32:], "sha256")
	le := binary.LittleEndian
	le.PutUint32(r.tree[64:], block)
	le.PutUint32(r.tree[68:], block)
	le.PutUint64(r.tree[72:], 2)
	for i := range 2 {
		sum := sha256.Sum256(r.root[i*block:][:block])
		copy(r.tree[block+32*i:], sum[:])
	}
	top := sha256.Sum256(r.tree[block:])
	hash := hex.EncodeToString(top[:])
	r.kernel = efiImage("roothash=" + hash)
	return r, hash
}

// efiImage is a PE file with a command line.
func efiImage(line string) []byte {
	b := make([]byte, 64+24+40+512)
	le := binary.LittleEndian
	copy(b, "MZ")
	le.PutUint32(b[0x3C:], 64)
	copy(b[64:], "PE\x00\x00")
	le.PutUint16(b[68:], 0x8664)
	le.PutUint16(b[70:], 1)
	section := b[88:]
	copy(section, ".cmdline")
	le.PutUint32(section[8:], uint32(len(line)))
	le.PutUint32(section[16:], 512)
	le.PutUint32(section[20:], 128)
	copy(b[128:], line)
	return b
}

// runningSource is the release that runs.
type runningSource struct {
	smallRelease
	release install.Release
}

func (s runningSource) Release(context.Context) (install.Release, error) { return s.release, nil }
func (s runningSource) Root(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(s.root)), nil
}
func (s runningSource) Verity(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(s.tree)), nil
}
func (s runningSource) Boot(_ context.Context, use func(install.Boot) error) error {
	return use(install.Boot{Files: fstest.MapFS{"EFI/BOOT/BOOTX64.EFI": {Data: []byte("loader")}}, Kernel: bytes.NewReader(s.kernel)})
}

// installing is a node with a file for a second disk.
type installing struct {
	*upgrading
	path string
	fact install.Disk
}

func startInstalling(t *testing.T, change ...func(*Config)) *installing {
	t.Helper()
	i := &installing{path: filepath.Join(t.TempDir(), "disk")}
	if err := errors.Join(os.WriteFile(i.path, nil, 0o600), os.Truncate(i.path, 4<<30)); err != nil {
		t.Fatal(err)
	}
	small, hash := newSmallRelease('a')
	mke2fs := "/usr/sbin/mke2fs"
	if _, err := os.Stat(mke2fs); err != nil {
		mke2fs = "/usr/bin/mke2fs"
	}
	i.fact = install.Disk{Name: "vdb", Serial: "S-1", SizeBytes: 4 << 30, SectorBytes: 512}
	i.upgrading = startUpgrading(t, upgrade.System{Version: "1.0.0", RootHash: hash, Slot: "a"}, upgrade.Record{}, func(c *Config) {
		c.Installs = &Installs{
			Installer: install.New(install.Config{
				Log: slog.New(slog.DiscardHandler), Now: time.Now, Sizes: install.NodeSizes(), Work: filepath.Join(t.TempDir(), "work"),
				MakeFileSystem: blockdev.New(blockdev.Tools{Mke2fs: mke2fs}, "").MakeImage,
				Disks: func(context.Context) ([]install.Disk, error) {
					d, err := i.look()
					return []install.Disk{d}, err
				},
				Open: func(install.Disk) (install.Device, error) { return blockdev.OpenWhole(i.path, true) },
			}),
			Started: func() error { return nil },
			Running: runningSource{small, install.Release{Version: "1.0.0", Architecture: "amd64", RootHash: hash, KernelBytes: int64(len(small.kernel))}},
		}
		for _, change := range change {
			change(c)
		}
	})
	return i
}

func (i *installing) look() (install.Disk, error) {
	d := i.fact
	w, err := blockdev.OpenWhole(i.path, false)
	if err != nil {
		return d, err
	}
	defer w.Close()
	return d, install.Look(w, &d)
}

// run installs, and returns all that was sent.
func (i *installing) run(target *installv1.Target) (all []*installv1.InstallResponse, err error) {
	err = installsAPI{i.Agent}.RunInstall(i.t.Context(), target, "alice", func(m *installv1.InstallResponse) error {
		all = append(all, m)
		return nil
	})
	return all, err
}

// holds reports whether the disk has some bytes in the middle of what was written: the state volume.
func (i *installing) holds(text string) bool {
	data := make([]byte, 64<<20)
	f, err := os.Open(i.path)
	if err != nil {
		return false
	}
	defer f.Close()
	const stateBegins = 2593 << 20
	_, err = f.ReadAt(data, stateBegins)
	return err == nil && bytes.Contains(data, []byte(text))
}

func TestInstallsAPI(t *testing.T) {
	t.Parallel()
	i := startInstalling(t)
	own := standalone(t)
	i.source.set(own)
	i.await("a configuration", func(s snapshot) bool { return healthy(s, "config") && s.identity })
	target := &installv1.Target{Disk: &installv1.DiskSelector{Serial: "S-?"}}
	plan, err := installsAPI{i.Agent}.PlanInstall(t.Context(), target, "alice")
	if err != nil || plan.GetVersion() != "1.0.0" || plan.GetDisk().GetName() != "vdb" || len(plan.GetPartitions()) != 7 || len(plan.GetSteps()) != 8 {
		t.Fatalf("plan %v, %v", plan, err)
	}
	all, err := i.run(target)
	if err != nil {
		t.Fatal(err)
	}
	last := all[len(all)-1].GetProgress()
	if all[0].GetPlan() == nil || last.GetStep() != "complete" || last.GetWrittenBytes() != last.GetTotalBytes() {
		t.Errorf("it began with %v and ended with %v", all[0], last)
	}
	if d, err := i.look(); err != nil || d.Note == nil || d.Note.Step != install.Complete {
		t.Errorf("the disk: %+v, %v", d.Note, err)
	}
	if !i.holds(string(own)) {
		t.Error("the configuration of the node is not on the state volume")
	}
	// The same again is done already.
	all, err = i.run(target)
	if err != nil || len(all) != 2 || all[1].GetProgress().GetStep() != "complete" || len(all[0].GetPlan().GetSteps()) != 0 {
		t.Errorf("again: %v, %v", all, err)
	}
	// With a configuration of its own, by the name of the disk.
	other := bytes.ReplaceAll(standalone(t), []byte("node1"), []byte("node9"))
	if _, err := i.run(&installv1.Target{Disk: target.GetDisk(), Wipe: "S-1", Configuration: other}); err != nil {
		t.Error(err)
	}
	if !i.holds("node9") {
		t.Error("the configuration that was given is not on the state volume")
	}
}

// TestInstallPushed: a release that was pushed, with the boot loader of the running one.
func TestInstallPushed(t *testing.T) {
	t.Parallel()
	i := startInstalling(t)
	i.source.set(standalone(t))
	i.await("its slots", func(s snapshot) bool { return s.upgrade != nil })
	target := &installv1.Target{Disk: &installv1.DiskSelector{Serial: "S-1"}, Pushed: true}
	if _, err := i.run(target); !errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), "no release was pushed") {
		t.Errorf("nothing pushed: %v", err)
	}
	small, hash := newSmallRelease('b')
	if _, err := (upgradesAPI{i.Agent}).Push(t.Context(), server.UpgradeAllow{}, bytes.NewReader(small.bundle(t, "2.0.0", hash))); err != nil {
		t.Fatal(err)
	}
	all, err := i.run(target)
	if err != nil || all[0].GetPlan().GetVersion() != "2.0.0" || all[0].GetPlan().GetRootHash() != hash {
		t.Fatalf("%v, %v", all, err)
	}
	f, err := os.Open(i.path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := make([]byte, len(small.root))
	if _, err := f.ReadAt(got, 513<<20); err != nil || !bytes.Equal(got, small.root) {
		t.Errorf("another root is on the disk: %v", err)
	}
}

// bundle signs a release.
func (r smallRelease) bundle(t *testing.T, version, hash string) []byte {
	t.Helper()
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	content := map[string][]byte{release.Kernel: r.kernel, release.Verity: r.tree, release.Root: e.EncodeAll(r.root, nil)}
	m := release.Manifest{Version: version, Architecture: "amd64", RootHash: hash, RootBytes: int64(len(r.root))}
	for _, name := range []string{release.Kernel, release.Verity, release.Root} {
		sum := sha256.Sum256(content[name])
		m.Files = append(m.Files, release.File{Name: name, Bytes: int64(len(content[name])), SHA256: hex.EncodeToString(sum[:])})
	}
	envelope, err := release.Sign(m, releaseKey())
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := release.Write(&b, envelope, m, func(name string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content[name])), nil }); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestInstallIsRefused: each error has the class by which the API tells it on.
func TestInstallIsRefused(t *testing.T) {
	i := startInstalling(t)
	i.source.set(standalone(t))
	i.await("a configuration", func(s snapshot) bool { return healthy(s, "config") })
	disk := &installv1.DiskSelector{Serial: "S-1"}
	for name, test := range map[string]struct {
		target *installv1.Target
		class  error
		text   string
	}{
		"no disk":           {&installv1.Target{}, server.ErrInvalid, "nothing says which disk is meant"},
		"another disk":      {&installv1.Target{Disk: &installv1.DiskSelector{Serial: "S-2"}}, server.ErrPrecondition, "no disk matches serial=S-2"},
		"another name":      {&installv1.Target{Disk: disk, Wipe: "S-2"}, server.ErrInvalid, "wipe is for a disk named"},
		"a bad document":    {&installv1.Target{Disk: disk, Configuration: []byte("kind: Toaster\n")}, server.ErrInvalid, "the configuration for the installed node"},
		"a size of nothing": {&installv1.Target{Disk: &installv1.DiskSelector{Sizes: []string{"big"}}}, server.ErrInvalid, `size "big"`},
	} {
		if _, err := (installsAPI{i.Agent}).PlanInstall(t.Context(), test.target, "alice"); !errors.Is(err, test.class) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("plan, %s: %v", name, err)
		}
		if _, err := i.run(test.target); !errors.Is(err, test.class) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("install, %s: %v", name, err)
		}
	}
	if err := i.goDown(); err != nil {
		t.Fatal(err)
	}
	if _, err := i.run(&installv1.Target{Disk: disk}); !errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), "going down") {
		t.Errorf("a machine that goes down: %v", err)
	}
	plain := startUpgrading(t, oldRelease, upgrade.Record{}, func(*Config) {})
	if _, err := (installsAPI{plain.Agent}).PlanInstall(t.Context(), &installv1.Target{Disk: disk}, "alice"); !errors.Is(err, server.ErrPrecondition) {
		t.Errorf("a node without disks: %v", err)
	}
}

// TestInstallEncrypted: the documents say whether the disk is to be encrypted, those that are given and the node's own.
func TestInstallEncrypted(t *testing.T) {
	i := startInstalling(t)
	i.source.set(standalone(t))
	i.await("a configuration", func(s snapshot) bool { return healthy(s, "config") && s.input.Config != nil })
	i.configs.mu.Lock()
	other := configstore.Revision{Mode: configstore.Source, Document: withEncryption(t, config.EncryptionTPM)}
	_, err := i.configs.store.Add(other, func(r configstore.Record, n uint64) (configstore.Record, error) { return r.Found(n) })
	i.configs.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	target := &installv1.Target{Disk: &installv1.DiskSelector{Serial: "S-1"}}
	given := &installv1.Target{Disk: target.GetDisk(), Configuration: withEncryption(t, config.EncryptionTPM)}
	for name, target := range map[string]*installv1.Target{"its own": target, "given": given} {
		if _, err := i.run(target); !errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), "this machine has no TPM 2.0") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if d, err := i.look(); err != nil || d.Note != nil {
		t.Errorf("the disk: %+v, %v", d.Note, err)
	}
	plan, err := installsAPI{i.Agent}.PlanInstall(t.Context(), &installv1.Target{Disk: target.GetDisk(), Configuration: standalone(t)}, "alice")
	if err != nil || !strings.Contains(plan.GetSteps()[5].GetWhat(), "make file system, with the configuration in it") {
		t.Errorf("without encryption: %v, %v", plan, err)
	}
}

// asSealer says how a disk would be encrypted, in the place of doing it.
type asSealer struct{ how storage.Encryption }

func (s asSealer) WouldOpen(io.ReaderAt) error {
	return fmt.Errorf("asked for %s with %q", s.how.Mode, s.how.Passphrase.Reveal())
}

func (asSealer) Enclose(context.Context, string, io.Reader) error {
	return errors.New("nothing is made here")
}

// TestInstallByPassphrase: the other disk is made with the passphrase that the machine is given, also by a node that needs none itself and has not looked for one since it
// has its configuration.
func TestInstallByPassphrase(t *testing.T) {
	i := startInstalling(t)
	i.source.set(standalone(t))
	i.await("a configuration", func(s snapshot) bool { return healthy(s, "config") && s.input.Config != nil })
	i.cfg.Installs.Sealer = func(how storage.Encryption) install.Sealer { return asSealer{how} }
	target := &installv1.Target{Disk: &installv1.DiskSelector{Serial: "S-1"}, Configuration: withEncryption(t, config.EncryptionPassphrase)}
	if _, err := (installsAPI{i.Agent}).PlanInstall(t.Context(), target, "alice"); !errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), "DiskPassphrase") {
		t.Errorf("with none given: %v", err)
	}
	i.source.give("correct horse battery staple")
	_, err := installsAPI{i.Agent}.PlanInstall(t.Context(), target, "alice")
	if err == nil || !strings.Contains(err.Error(), `asked for passphrase with "correct horse battery staple"`) {
		t.Errorf("with one that is given: %v", err)
	}
}

// goDown begins the end of the machine.
func (i *installing) goDown() error { return machineAPI{i.Agent}.Reboot(i.t.Context()) }

// anInventory is a machine of some disks.
type anInventory []*inventoryv1.Disk

func (d anInventory) Inventory(context.Context, bool) (*inventoryv1.Inventory, error) {
	return &inventoryv1.Inventory{Disks: d}, nil
}

func TestInstallDisks(t *testing.T) {
	var looked []string
	list := InstallDisks(anInventory{
		{Name: "vda", SizeBytes: 100, Bus: inventoryv1.DiskBus_DISK_BUS_VIRTIO, Rotational: true},
		{
			Name: "nvme0n1", SizeBytes: 200, Bus: inventoryv1.DiskBus_DISK_BUS_NVME, Vendor: "ACME", Model: "Fast", Serial: "S", Wwn: "eui.1",
			Path: "pci0000:00/0000:00:01.0", LogicalSectorBytes: 4096, ReadOnly: true,
		},
		{Name: "sda", SizeBytes: 300, Bus: inventoryv1.DiskBus_DISK_BUS_ATA, Rotational: true, LogicalSectorBytes: 512},
		{Name: "sdb", SizeBytes: 300},
		{Name: "sdc"},
	}, "vda", func(d *install.Disk) error {
		looked = append(looked, d.Name)
		if d.Name == "sdb" {
			return errors.New("input/output error")
		}
		d.Use = "somebody"
		return nil
	})
	got, err := list(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []install.Disk{
		{Name: "vda", Type: install.HDD, Bus: "virtio", SizeBytes: 100, System: true},
		{
			Name: "nvme0n1", Type: install.NVMe, Bus: "nvme", Model: "ACME Fast", Serial: "S", WWN: "eui.1", Path: "pci0000:00/0000:00:01.0", SizeBytes: 200,
			SectorBytes: 4096, ReadOnly: true, Use: "somebody",
		},
		{Name: "sda", Type: install.HDD, Bus: "ata", SizeBytes: 300, SectorBytes: 512, Use: "somebody"},
		{Name: "sdb", Type: install.SSD, SizeBytes: 300, Problem: "input/output error"},
		{Name: "sdc", Type: install.SSD},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"nvme0n1", "sda", "sdb"}, looked); d != "" {
		t.Errorf("looked at (-want +got):\n%s", d)
	}
}
