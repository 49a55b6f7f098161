package mount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// freshFlags keep what is put there from being a program with another's rights, or a device.
const freshFlags = unix.MS_NOSUID | unix.MS_NODEV

// Fresh mounts an empty memory file system on a folder, which it makes, and takes away what
// was mounted there, however full or read-only that is, and whatever flags its files have:
// none of it is looked at. Who holds a file of the old one keeps that until it is closed. The
// new one holds at most sizeBytes, and no more files than pages; 0 is a fifth of the memory,
// and as many files as the kernel lets there be.
//
// Nobody else may be able to change the folders above. Between the two the folder itself is
// there to be seen, so that Fresh must not be called while something works in it.
func Fresh(dir string, mode fs.FileMode, sizeBytes int64) error {
	if err := os.MkdirAll(dir, mode); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	for {
		err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) {
			break // nothing is mounted there any more
		}
		if err != nil {
			return fmt.Errorf("unmount %s: %w", dir, err)
		}
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", freshFlags, freshData(mode, sizeBytes)); err != nil {
		return fmt.Errorf("mount tmpfs on %s: %w", dir, err)
	}
	return nil
}

// pageBytes is the smallest page; a file takes one, whatever it holds.
const pageBytes = 4096

// freshData is what the file system is told (tmpfs(5)).
func freshData(mode fs.FileMode, sizeBytes int64) string {
	if sizeBytes == 0 {
		return fmt.Sprintf("mode=%#o,size=20%%", mode.Perm())
	}
	return fmt.Sprintf("mode=%#o,size=%d,nr_inodes=%d", mode.Perm(), sizeBytes, max(sizeBytes/pageBytes, 16))
}
