package build

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/cyvive/cyvive/images/internal/disk"
	"github.com/cyvive/cyvive/images/internal/step"
)

const mib = 1 << 20

// Sizes of the partitions. Both slots have the same, for updates; data is
// last, and the node grows it to the end of its disk. What it has at least is what
// ZFS takes, 64 MiB, and the 4 MiB of the header of an encrypted volume.
const (
	espBytes    = 512 * mib
	rootBytes   = 1024 * mib
	verityBytes = 16 * mib
	stateBytes  = 64 * mib
	dataBytes   = 68 * mib
)

// Of kernel images the boot partition holds that of each slot, and beside them
// one that is being written, and espSpareBytes for the boot loader, entries and
// the file system's own.
const (
	espKernels    = 3
	espSpareBytes = 8 * mib
)

// disk makes the bootable disk images.
func (b *builder) disk(ctx context.Context) error {
	boot, err := b.bootLoader()
	if err != nil {
		return err
	}
	name := efiNames[b.Arch]
	files := map[string][]byte{
		"/EFI/BOOT/BOOT" + map[string]string{"x64": "X64", "aa64": "AA64"}[name] + ".EFI": boot,
		"/EFI/systemd/systemd-boot" + name + ".efi":                                       boot,
		kernelPath:            b.results.uki,
		entryPath:             entry(b.version),
		"/loader/loader.conf": []byte(loaderConf),
	}
	if err := b.fits(); err != nil {
		return err
	}
	key := step.Key("disk-3", string(boot), string(b.results.uki), b.results.rootHash, loaderConf, string(entry(b.version)))
	mark := b.out(".disk")
	if old, err := os.ReadFile(mark); err == nil && string(old) == key && exists(b.out("disk.raw")) && exists(b.out("disk.qcow2")) {
		fmt.Fprintf(b.Progress, "mkimage: %-12s cached\n", "disk")
		return nil
	}
	return b.run.Do("disk", func() error {
		if err := b.write("disk.raw", func(f *os.File) error { return b.writeDisk(f, files) }); err != nil {
			return err
		}
		if err := b.qcow2(ctx); err != nil {
			return err
		}
		return os.WriteFile(mark, []byte(key), 0o644)
	})
}

// fits checks the parts against the partitions that a later release of their
// size must fit into as well.
func (b *builder) fits() error {
	if n := int64(len(b.results.uki)); espKernels*n > espBytes-espSpareBytes {
		return fmt.Errorf("lay out disk: a kernel image of %d bytes; the boot partition of %d is to hold %d of them", n, espBytes, espKernels)
	}
	for _, part := range []struct {
		file  string
		bytes int64
	}{{b.results.root, rootBytes}, {b.results.verity, verityBytes}} {
		info, err := os.Stat(part.file)
		if err != nil {
			return fmt.Errorf("lay out disk: %w", err)
		}
		if info.Size() > part.bytes {
			return fmt.Errorf("lay out disk: %s has %d bytes, its partition %d", filepath.Base(part.file), info.Size(), part.bytes)
		}
	}
	return nil
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

func (b *builder) writeDisk(f *os.File, files map[string][]byte) error {
	esp, err := os.CreateTemp(b.out(""), ".esp-*")
	if err != nil {
		return err
	}
	defer os.Remove(esp.Name())
	defer esp.Close()
	// The FAT library takes file times from the environment only.
	if err := os.Setenv("SOURCE_DATE_EPOCH", fmt.Sprint(b.lock.Epoch)); err != nil {
		return err
	}
	if err := disk.WriteESP(esp, espBytes, "ESP", files); err != nil {
		return err
	}
	root, err := os.Open(b.results.root)
	if err != nil {
		return err
	}
	defer root.Close()
	tree, err := os.Open(b.results.verity)
	if err != nil {
		return err
	}
	defer tree.Close()
	return disk.Write(f, uuidOf("disk", b.results.rootHash), b.partitions(esp, root, tree))
}

// partitions lays out the disk. The root hash's halves are the UUIDs of the
// pair that it opens; the second slot is blank, with UUIDs of its own.
func (b *builder) partitions(esp, root, tree *os.File) []disk.Partition {
	hash := b.results.rootHash
	rootType, verityType := disk.TypeRootAMD64, disk.TypeRootVerityAMD64
	if b.Arch == "arm64" {
		rootType, verityType = disk.TypeRootARM64, disk.TypeRootVerityARM64
	}
	id := func(name string) string { return uuidOf("partition", name, hash) }
	return []disk.Partition{
		{Name: "esp", Type: disk.TypeESP, UUID: id("esp"), SizeBytes: espBytes, Content: esp},
		{Name: "root-a", Type: rootType, UUID: hexUUID(hash[:32]), SizeBytes: rootBytes, Content: root},
		{Name: "verity-a", Type: verityType, UUID: hexUUID(hash[32:]), SizeBytes: verityBytes, Content: tree},
		{Name: "root-b", Type: rootType, UUID: id("root-b"), SizeBytes: rootBytes},
		{Name: "verity-b", Type: verityType, UUID: id("verity-b"), SizeBytes: verityBytes},
		{Name: "state", Type: disk.TypeLinux, UUID: id("state"), SizeBytes: stateBytes},
		{Name: "data", Type: disk.TypeLinux, UUID: id("data"), SizeBytes: dataBytes},
	}
}

// hexUUID writes 32 hex digits as a UUID.
func hexUUID(h string) string {
	return h[0:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:32]
}

// qcow2 converts the raw image with qemu-img.
func (b *builder) qcow2(ctx context.Context) error {
	tmp := b.out(".new.qcow2")
	defer os.Remove(tmp)
	cmd := exec.CommandContext(ctx, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", b.out("disk.raw"), tmp)
	if err := b.run.Command(ctx, "qcow2", cmd); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Clean(b.out("disk.qcow2")))
}
