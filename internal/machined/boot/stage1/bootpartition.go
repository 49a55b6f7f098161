package stage1

import (
	"log/slog"
	"os"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/machined/boot/kmod"
	"github.com/cyvive/cyvive/internal/machined/boot/trial"
)

// loaderPartition is where efivarfs has the UUID of the boot partition that the boot
// loader was started from (systemd.io/BOOT_LOADER_INTERFACE).
const (
	variables       = "/sys/firmware/efi/efivars"
	loaderPartition = variables + "/LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
)

// bootPartition is the partition that the boot loader was started from, or none if
// nobody says so: then any disk with the root will do.
func bootPartition(log *slog.Logger, mods *kmod.Loader) uuid.UUID {
	if _, err := os.Stat(variables); err != nil {
		return uuid.Nil // not started by such firmware
	}
	if err := mods.Load("efivarfs"); err != nil {
		log.Info("the firmware's variables cannot be read", "err", err)
		return uuid.Nil
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_RDONLY
	if err := unix.Mount("efivarfs", variables, "efivarfs", flags, ""); err != nil {
		log.Info("the firmware's variables cannot be read", "err", err)
		return uuid.Nil
	}
	// Init mounts it again: /sys goes along into the new root.
	defer unix.Unmount(variables, unix.MNT_DETACH)
	text, err := trial.Text(loaderPartition)
	if err != nil || text == "" {
		log.Info("the boot loader does not say where it was started from", "err", err)
		return uuid.Nil
	}
	id, err := uuid.Parse(text)
	if err != nil {
		log.Warn("the boot loader was started from a partition without a UUID", "text", text)
		return uuid.Nil
	}
	return id
}
