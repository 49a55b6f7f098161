package build

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/images/internal/initramfs"
	"github.com/cyvive/cyvive/images/internal/kernel"
	"github.com/cyvive/cyvive/images/internal/step"
	"github.com/cyvive/cyvive/images/internal/tree"
)

// bootModules are what stage 1 may need to reach the root: disks of virtual
// and real machines, dm-verity and EROFS. What is built in counts as there. Network
// cards are not among them: their firmware is on the root.
//
// loop is for the initramfs of an installation medium, which has the root in it.
//
// With them comes efivarfs, by which stage 1 learns from which of two disks with one
// root it was started, and watchdogs, which have to be running before anything can hang
// (not the kernel's own, softdog, which would take the first place from one whose
// driver is on the root), and what keeps the kernel's last words in the firmware's memory, so that a boot
// that ends before the root is there leaves a reason.
var bootModules = []string{
	"virtio_pci", "virtio_mmio", "virtio_blk", "virtio_scsi", "virtio_rng", "sd_mod", "nvme", "ahci",
	"hv_vmbus", "hv_storvsc", "pci_hyperv",
	"mpt3sas", "mpi3mr", "megaraid_sas", "smartpqi", "hpsa", "aacraid",
	"xhci_pci", "ehci_pci", "usb_storage", "uas",
	"dm_mod", "dm_bufio", "dm_verity", "erofs", "loop",
	"efi_pstore", "efivarfs",
}

// bootModulesOf are those that one architecture has. Intel's watchdog has no device of
// its own: lpc_ich or i2c_i801 brings it forth.
var bootModulesOf = map[string][]string{
	"amd64": {
		"xen_blkfront", "vmw_pvscsi", "vmd", "sha256_ssse3",
		"i6300esb", "wdat_wdt", "iTCO_wdt", "lpc_ich", "i2c_i801", "sp5100_tco", "hpwdt",
	},
	"arm64": {"xhci_plat_hcd", "sbsa_gwdt", "bcm2835_wdt"},
}

// bootModulesFor is all of it for an architecture.
func bootModulesFor(arch string) []string { return slices.Concat(bootModules, bootModulesOf[arch]) }

// initramfs makes the initial RAM disk: init and the boot modules, compressed as much as
// zstd can, since it is in each kernel image on the boot partition.
func (b *builder) initramfs(ctx context.Context) error {
	sum, err := hashFile(b.results.programs["init"])
	if err != nil {
		return err
	}
	key := step.Key("initramfs-3", sum, filepath.Base(filepath.Dir(b.results.modules)), filepath.Base(b.results.tree.Dir),
		b.epoch().String(), strings.Join(bootModulesFor(b.Arch), " "))
	dir, err := b.run.Cached("initramfs", key, func(dir string) error {
		all, err := kernel.Open(b.results.modules, b.pins.Kernel)
		if err != nil {
			return err
		}
		boot, err := all.Subset(bootModulesFor(b.Arch)...)
		if err != nil {
			return err
		}
		t, err := bootTree(boot, b.results.programs["init"])
		if err != nil {
			return err
		}
		archive := filepath.Join(dir, "initramfs")
		defer os.Remove(archive)
		if err := writeTo(archive, func(f *os.File) error { return initramfs.Write(f, t, b.epoch()) }); err != nil {
			return err
		}
		return b.compress(ctx, "initramfs", dir, "initramfs.zst", archive, "-19")
	})
	if err != nil {
		return err
	}
	b.results.initramfs = filepath.Join(dir, "initramfs.zst")
	return b.publish("initramfs.zst", b.results.initramfs)
}

// bootTree is the content of the initial RAM disk.
func bootTree(set *kernel.Set, init string) (*tree.Tree, error) {
	t := tree.New()
	t.MkdirAll("/dev", "/proc", "/sys", "/run", "/sysroot")
	t.Copy("/init", 0o755, init)
	indexes, err := set.Indexes()
	if err != nil {
		return nil, err
	}
	base := "/usr/lib/modules/" + set.Release + "/"
	for _, m := range []map[string][]byte{set.Modules, indexes} {
		for name, data := range m {
			t.Write(base+name, 0o644, data)
		}
	}
	t.Symlink("/lib", "usr/lib")
	return t, nil
}
