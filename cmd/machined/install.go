package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/cyvive/cyvive/internal/machined"
	"github.com/cyvive/cyvive/internal/machined/boot/marker"
	"github.com/cyvive/cyvive/internal/machined/install"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/blockdev"
	"github.com/cyvive/cyvive/internal/storage/loader"
	"github.com/cyvive/cyvive/internal/storage/luks"
	"github.com/cyvive/cyvive/internal/trust/secureboot"
	"github.com/cyvive/cyvive/internal/trust/volumes"
)

// installDir is where an installation makes the file system of a state volume, in memory.
const installDir = "/run/cyvive/install"

// mediumSlot is the one that the disk of an installation medium has.
const mediumSlot = "a"

// installs makes what the agent installs the node on other disks with. It is nil where the system was started neither from a slot of a disk nor from an
// installation medium. Crypt encrypts volumes.
func installs(
	log *slog.Logger, disk *blockdev.Disk, m marker.Marker, version server.Version, inventory server.Inventory, boot *loader.Loader, crypt *volumes.Volumes,
) *machined.Installs {
	slot := m.Slot
	if m.Medium {
		slot = mediumSlot
	}
	if slot == "" || m.Disk == "" {
		return nil
	}
	list := machined.InstallDisks(inventory, m.Disk, looker{disk}.look)
	return &machined.Installs{
		Installer: install.New(install.Config{
			Log: log.With("part", "install"), Now: time.Now, Sizes: install.NodeSizes(), Work: installDir, MakeFileSystem: disk.MakeImage,
			Disks: list, Open: opener(list), HeaderBytes: luks.HeaderBytes,
		}),
		Sealer: func(how storage.Encryption) install.Sealer {
			if m.Medium && how.Mode == storage.TPM {
				return settled{crypt.Sealing(how), keysToCome(boot, firmwareVariables)}
			}
			return crypt.Sealing(how)
		},
		Running: running{disk: disk, device: "/dev/" + m.Disk, slot: slot, version: version.OS, rootHash: m.RootHash, boot: boot},
		Started: func() error { return note{device: "/dev/" + m.Disk}.with(true, install.Started) },
	}
}

// settled is a Sealer for a TPM that seals only on a machine whose firmware stays as it is. Why it does not is the error.
type settled struct {
	install.Sealer
	err error
}

// WouldOpen implements install.Sealer.
func (s settled) WouldOpen(image io.ReaderAt) error {
	if s.err != nil {
		return s.err
	}
	return s.Sealer.WouldOpen(image)
}

// autoKeys is where the boot loader finds the keys that it enrols by itself in a machine in setup mode (hack/release/diskimage).
const autoKeys = "loader/keys/auto"

var errKeysToCome = errors.New("the firmware is in setup mode, and the boot loader of the installed disk may enrol the keys of Secure Boot, after which the TPM's " +
	"register 7 is another: enrol them first (docs/secure-boot.md), or start from a signed disk once, which does, or use a medium that was made with ENROL=off")

// keysToCome says whether the first start from an installed disk may change what firmware trusts. A node that runs from a disk has had that start behind it; one
// that was started from an installation medium has not.
func keysToCome(boot *loader.Loader, variables string) error {
	setup, err := secureboot.InSetupMode(os.DirFS(variables))
	if err != nil || !setup {
		return err
	}
	return boot.Files(func(dir string) error {
		_, err := os.Stat(filepath.Join(dir, autoKeys))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return errors.Join(err, errKeysToCome)
	})
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
	d.Sequence = w.Sequence
	if w.SizeBytes != d.SizeBytes {
		return fmt.Errorf("it has %d bytes, and %d a moment before", w.SizeBytes, d.SizeBytes)
	}
	d.SectorBytes = w.SectorBytes
	return install.Look(w, d)
}

// opener opens a disk for an installation by its name, and looks once more whose that is: another disk may have come to it since the disk was chosen, and while this one
// is open none does.
func opener(list func(context.Context) ([]install.Disk, error)) func(install.Disk) (install.Device, error) {
	return func(d install.Disk) (install.Device, error) {
		w, err := blockdev.OpenWhole("/dev/"+d.Name, true)
		if err != nil {
			return nil, err
		}
		all, err := list(context.Background())
		same := func(o install.Disk) bool { return o.String() == d.String() && o.Sequence == w.Sequence }
		if err == nil && (d.Sequence != w.Sequence || !slices.ContainsFunc(all, same)) {
			err = blockdev.ErrOtherDisk
		}
		if err != nil {
			return nil, errors.Join(err, w.Close())
		}
		return w, nil
	}
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
