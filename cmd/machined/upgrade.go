package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/cyvive/cyvive/internal/machined"
	"github.com/cyvive/cyvive/internal/machined/boot/marker"
	"github.com/cyvive/cyvive/internal/machined/crash"
	"github.com/cyvive/cyvive/internal/machined/upgrade"
	"github.com/cyvive/cyvive/internal/release"
	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/blockdev"
	"github.com/cyvive/cyvive/internal/storage/loader"
	"github.com/cyvive/cyvive/internal/storage/mount"
	"github.com/cyvive/cyvive/internal/trust/secureboot"
	"github.com/cyvive/cyvive/internal/trust/volumes"
)

const (
	// releaseKeys are the keys of whoever may sign the next release.
	releaseKeys = "/usr/lib/cyvive/release-keys.pem"
	// bootLoader is the one that the release brings.
	bootLoader = "/usr/lib/cyvive/boot.efi"
	// espDir is where the EFI system partition is mounted while it is read or changed.
	espDir = "/run/cyvive/esp"
	// espName is the name of its partition.
	espName = "esp"
	// firmwareVariables is where efivarfs is mounted, if the machine has any.
	firmwareVariables = "/sys/firmware/efi/efivars"
)

// upgrades makes what the agent upgrades the node with. It is nil where the system was not started from a slot of a disk.
func upgrades(log *slog.Logger, disk *blockdev.Disk, boot *loader.Loader, m marker.Marker, floor string) *machined.Upgrades {
	if m.Slot == "" || m.Disk == "" {
		return nil
	}
	device := "/dev/" + m.Disk
	return &machined.Upgrades{
		Slots:        slots{disk, device, m.Slot},
		Entries:      entries{boot},
		Architecture: runtime.GOARCH, Floor: floor, Keys: readKeys(log, releaseKeys),
		Pushed: filepath.Join(storage.UpgradeDir, "pushed"), FreeBytes: mount.Mounts{}.FreeBytes,
		Opens:  func(kernel io.ReaderAt) error { return opens(disk, device, kernel) },
		Starts: func(kernel *io.SectionReader) error { return starts(firmwareVariables, kernel) },
		Renew:  func() (string, error) { return renew(boot, bootLoader, firmwareVariables) },
	}
}

// renew has the boot loader replaced by the one at a path, if that is newer and the firmware starts it, and says what was done.
func renew(boot *loader.Loader, path, variables string) (string, error) {
	program, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil // a release that brings none
	}
	if err != nil {
		return "", err
	}
	firmware, err := secureboot.Read(os.DirFS(variables))
	if err != nil {
		return "", err
	}
	was, err := boot.Renew(program, func(old []byte) error { return mayReplace(firmware, old, program) })
	if err != nil || was == "" {
		return "", err
	}
	version, _ := loader.ProgramVersion(program)
	return fmt.Sprintf("version %s in the place of %s", version, was), nil
}

// mayReplace says why a boot loader cannot take the place of another. Register 7 of the TPM, by which a sealed disk opens, knows the certificate by which the
// firmware has started it, and would be another one with a boot loader by somebody else; and a machine on which Secure Boot is off now may be one on which it
// is turned on.
func mayReplace(firmware secureboot.Firmware, old, program []byte) error {
	if err := firmware.Starts(bytes.NewReader(program)); err != nil {
		return err
	}
	was, err := secureboot.SignerOf(bytes.NewReader(old))
	if err != nil {
		return fmt.Errorf("the one that is there: %w", err)
	}
	is, err := secureboot.SignerOf(bytes.NewReader(program))
	switch {
	case err != nil:
		return err
	case was == nil && firmware.On:
		return errors.New("the one that is there is not signed, and Secure Boot starts it all the same")
	case was == nil:
		return nil
	case is == nil:
		return fmt.Errorf("the one that is there is signed by %q: %w", was.Subject, secureboot.ErrUnsigned)
	case !is.Equal(was):
		return fmt.Errorf("it is signed by %q, and the one that is there by %q", is.Subject, was.Subject)
	}
	return nil
}

// starts says whether the machine's firmware would start a kernel image. The variables are read each time: they can change.
func starts(variables string, kernel *io.SectionReader) error {
	firmware, err := secureboot.Read(os.DirFS(variables))
	if err != nil {
		return err
	}
	return firmware.Starts(kernel)
}

// opens says whether a kernel image would open the node's disk, if that is encrypted.
func opens(disk *blockdev.Disk, device string, kernel io.ReaderAt) error {
	list, err := disk.Partitions(context.Background(), device)
	if err != nil {
		return err
	}
	for _, p := range list {
		if p.Name == storage.State {
			return volumes.Opens(p.Device, kernel)
		}
	}
	return nil // there is nothing to open
}

// crashes is what the kernel and the watchdog tell of the boot before the running one, and what is kept of earlier ones.
func crashes(boot string) crash.Source {
	return crash.Source{Pstore: "/sys/fs/pstore", Watchdog: "/sys/class/watchdog/watchdog0", Kept: filepath.Join(stateDir, "crash"), Boot: boot}
}

// readKeys reads the keys that the verified root brings. Without them the node works, and takes no release.
func readKeys(log *slog.Logger, path string) []ed25519.PublicKey {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		log.Warn("the image has no release keys: no release can be pushed to this node", "path", path)
		return nil
	}
	if err == nil {
		var keys []ed25519.PublicKey
		if keys, err = release.ParsePublicKeys(data); err == nil {
			return keys
		}
	}
	log.Error("read the release keys: no release can be pushed to this node", "path", path, "error", err)
	return nil
}

// slots implements upgrade.Slots on the system disk.
type slots struct {
	disk    *blockdev.Disk
	device  string
	running string
}

// Slot implements upgrade.Slots.
func (s slots) Slot(ctx context.Context, name string) (upgrade.Slot, error) {
	found, err := s.disk.Slot(ctx, s.device, name)
	if err != nil {
		return upgrade.Slot{}, err
	}
	return upgrade.Slot{
		RootHash: hex.EncodeToString(found.RootHash[:]), RootBytes: int64(found.Root.SizeBytes), VerityBytes: int64(found.Verity.SizeBytes),
	}, nil
}

// Write implements upgrade.Slots. The slot that runs is never written, whoever asks for it.
func (s slots) Write(ctx context.Context, name, rootHash string, root, tree io.Reader) error {
	if name == s.running {
		return fmt.Errorf("write slot %s: it is the one that runs", name)
	}
	hash, err := hex.DecodeString(rootHash)
	if err != nil || len(hash) != 32 {
		return fmt.Errorf("write slot %s: root hash %q is not 64 hexadecimal digits", name, rootHash)
	}
	slot, err := s.disk.Slot(ctx, s.device, name)
	if err != nil {
		return err
	}
	return s.disk.WriteSlot(ctx, s.device, slot, [32]byte(hash), root, tree)
}

// entries implements upgrade.Entries on the boot loader's.
type entries struct{ *loader.Loader }

// Kernel implements upgrade.Entries.
func (e entries) Kernel(slot string, read func(*io.SectionReader) error) error {
	return e.ReadKernel(slot, read)
}

// Read implements upgrade.Entries.
func (e entries) Read() (map[string]upgrade.Entry, error) {
	state, err := e.Loader.Read()
	if err != nil {
		return nil, err
	}
	out := map[string]upgrade.Entry{}
	for slot, bytes := range state.KernelBytes {
		found := upgrade.Entry{KernelBytes: bytes}
		if entry, ok := state.Entry(slot); ok {
			found.Version, found.Counted = entry.Version, entry.Left != loader.Unlimited
			found.Untried = found.Counted && entry.Done == 0
		}
		out[slot] = found
	}
	return out, nil
}

// espOptions are those by which it is mounted. A power cut amid a change leaves names of files whose clusters count as free. To remove such a file is an error of
// the file system, for which the kernel by default lets nothing more be written to it until it is mounted anew (fs/fat/misc.c, __fat_fs_error): an upgrade would
// fail that begins with the removal of what an earlier one has left.
func espOptions() []string {
	return []string{"nosuid", "nodev", "noexec", "noatime", "umask=0077", "errors=continue"}
}

// esp is the EFI system partition of the system disk.
type esp struct {
	disk   *blockdev.Disk
	device string
}

// open mounts it where nobody else looks. What an agent that was killed has left mounted is unmounted first.
func (e esp) open() (loader.Volume, error) {
	list, err := e.disk.Partitions(context.Background(), e.device)
	if err != nil {
		return loader.Volume{}, err
	}
	i := slices.IndexFunc(list, func(p storage.Partition) bool { return p.Name == espName })
	if i < 0 {
		return loader.Volume{}, fmt.Errorf("find the EFI system partition: %s has no partition named %s", e.device, espName)
	}
	if err := os.MkdirAll(espDir, 0o700); err != nil {
		return loader.Volume{}, err
	}
	var mounts mount.Mounts
	if err := mounts.Unmount(espDir); err != nil {
		return loader.Volume{}, err
	}
	if err := mounts.Mount(list[i].Device, espDir, "vfat", espOptions()); err != nil {
		return loader.Volume{}, err
	}
	free, err := mounts.FreeBytes(espDir)
	if err != nil {
		return loader.Volume{}, errors.Join(err, mounts.Unmount(espDir))
	}
	return loader.Volume{Dir: espDir, FreeBytes: free, Close: func() error { return mounts.Unmount(espDir) }}, nil
}
