package mount

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// ReadFiles returns the contents of those files in the top directory of a volume that exist. The volume is mounted read-only but attached
// nowhere (fsopen(2) and fsmount(2), Linux 5.2), so that no other process can see it, and is gone when ReadFiles returns. A file of more
// than limitBytes is an error.
func ReadFiles(device, fileSystem string, limitBytes int64, names ...string) (map[string][]byte, error) {
	root, err := detached(device, fileSystem)
	if err != nil {
		return nil, fmt.Errorf("open volume %s (%s): %w", device, fileSystem, err)
	}
	defer unix.Close(root)
	out := map[string][]byte{}
	for _, name := range names {
		data, err := readBelow(root, name, limitBytes)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read %s of volume %s: %w", name, device, err)
		}
		out[name] = data
	}
	return out, nil
}

// readBelow reads a file below an open directory. What is none is refused: nobody may ever write into a FIFO that is waited for.
func readBelow(root int, name string, limitBytes int64) ([]byte, error) {
	fd, err := unix.Openat2(root, name, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK, Resolve: unix.RESOLVE_BENEATH})
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is no file with content")
	}
	data, err := io.ReadAll(io.LimitReader(f, limitBytes+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limitBytes {
		return nil, fmt.Errorf("larger than %d bytes", limitBytes)
	}
	return data, nil
}

// detached mounts the device read-only and returns a descriptor of its root.
func detached(device, fileSystem string) (int, error) {
	ctx, err := unix.Fsopen(fileSystem, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open file system type: %w", err)
	}
	defer unix.Close(ctx)
	if err := unix.FsconfigSetString(ctx, "source", device); err != nil {
		return -1, fmt.Errorf("set source: %w", err)
	}
	if err := unix.FsconfigSetFlag(ctx, "ro"); err != nil {
		return -1, fmt.Errorf("set read-only: %w", err)
	}
	if err := unix.FsconfigCreate(ctx); err != nil {
		return -1, fmt.Errorf("read superblock: %w", err)
	}
	root, err := unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return -1, fmt.Errorf("mount: %w", err)
	}
	return root, nil
}
