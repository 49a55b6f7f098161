package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/cyvive/cyvive/internal/machined"
	"github.com/cyvive/cyvive/internal/machined/boot/marker"
	"github.com/cyvive/cyvive/internal/machined/install"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/blockdev"
	"github.com/cyvive/cyvive/internal/storage/loader"
	"github.com/cyvive/cyvive/internal/storage/luks"
	"github.com/cyvive/cyvive/internal/trust/volumes"
)

// installDir is where an installation makes the file system of a state volume, in memory.
const installDir = "/run/cyvive/install"

// installs makes what the agent installs the node on other disks with. It is nil where the system was not started from a slot of a disk. Crypt encrypts
// volumes.
func installs(
	log *slog.Logger, disk *blockdev.Disk, m marker.Marker, version server.Version, inventory server.Inventory, boot *loader.Loader, crypt *volumes.Volumes,
) *machined.Installs {
	if m.Slot == "" || m.Disk == "" {
		return nil
	}
	return &machined.Installs{
		Installer: install.New(install.Config{
			Log: log.With("part", "install"), Now: time.Now, Sizes: install.NodeSizes(), Work: installDir, MakeFileSystem: disk.MakeImage,
			Disks: machined.InstallDisks(inventory, m.Disk, looker{disk}.look),
			Open:  openDisk, HeaderBytes: luks.HeaderBytes,
		}),
		Sealer:  func(how storage.Encryption) install.Sealer { return crypt.Sealing(how) },
		Running: running{disk: disk, device: "/dev/" + m.Disk, slot: m.Slot, version: version.OS, rootHash: m.RootHash, boot: boot},
		Started: func() error { return note{device: "/dev/" + m.Disk}.with(true, install.Started) },
	}
}

// looker looks at disks.
type looker struct{ disk *blockdev.Disk }

// look fills in what is on a disk, and who uses it. A disk without a medium, or one that fails, is an error.
func (l looker) look(d *install.Disk) error {
	var err error
	if d.Use, err = l.disk.InUse(d.Name, "/proc/self/mountinfo"); err != nil {
		return err
	}
	w, err := blockdev.OpenWhole("/dev/"+d.Name, false)
	if err != nil {
		return err
	}
	defer w.Close()
	if w.SizeBytes != d.SizeBytes {
		return fmt.Errorf("it has %d bytes, and %d a moment before", w.SizeBytes, d.SizeBytes)
	}
	d.SectorBytes = w.SectorBytes
	return install.Look(w, d)
}

// openDisk opens a disk for an installation.
func openDisk(d install.Disk) (install.Device, error) {
	w, err := blockdev.OpenWhole("/dev/"+d.Name, true)
	if err != nil {
		return nil, err
	}
	return w, nil
}

// running is the release that runs, as an install.Source.
type running struct {
	disk              *blockdev.Disk
	device, slot      string
	version, rootHash string
	boot              *loader.Loader
}

// Release implements install.Source.
func (r running) Release(context.Context) (install.Release, error) {
	out := install.Release{Version: r.version, Architecture: runtime.GOARCH, RootHash: r.rootHash}
	err := r.boot.Files(func(dir string) error {
		info, err := os.Stat(filepath.Join(dir, loader.KernelPath(r.slot)))
		if err == nil {
			out.KernelBytes = info.Size()
		}
		return err
	})
	return out, err
}

// Root implements install.Source. It is read past the kernel's own check, since the installation has one.
func (r running) Root(ctx context.Context) (io.ReadCloser, error) {
	slot, err := r.disk.Slot(ctx, r.device, r.slot)
	if err != nil {
		return nil, err
	}
	return os.Open(slot.Root.Device)
}

// Verity implements install.Source.
func (r running) Verity(ctx context.Context) (io.ReadCloser, error) {
	slot, err := r.disk.Slot(ctx, r.device, r.slot)
	if err != nil {
		return nil, err
	}
	return os.Open(slot.Verity.Device)
}

// Boot implements install.Source.
func (r running) Boot(_ context.Context, use func(install.Boot) error) error {
	return r.boot.Files(func(dir string) error {
		kernel, err := os.Open(filepath.Join(dir, loader.KernelPath(r.slot)))
		if err != nil {
			return err
		}
		defer kernel.Close()
		return use(install.Boot{Files: os.DirFS(dir), Kernel: kernel})
	})
}
