package mounter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// devicePrefix begins the names of zvols in devtmpfs (ZVOL_DEV_NAME in include/sys/fs/zfs.h).
	devicePrefix = "/dev/zd"
	sysBlock     = "/sys/block"
	// OpenZFS makes the device of a volume some time after the volume (zvol_create_minors in module/zfs/zvol.c, by a task queue).
	deviceWait = 30 * time.Second
	deviceLook = 50 * time.Millisecond
)

// device returns the path of a volume's device, and waits until it is there: as long as the context lets it, and half a minute at most.
func (m *Mounter) device(ctx context.Context, volume string) (string, error) {
	ctx, stop := context.WithTimeout(ctx, deviceWait)
	defer stop()
	var silent []string
	for {
		device, now, err := m.lookUp(ctx, volume)
		if err != nil || device != "" {
			return device, err
		}
		if ctx.Err() == nil || len(now) > len(silent) {
			silent = now // a look that was cut off does not tell of those that it has not asked
		}
		select {
		case <-time.After(deviceLook):
		case <-ctx.Done():
			if len(silent) > 0 {
				return "", fmt.Errorf("wait for the device of volume %s, and for an answer from %s, of which the pool may be suspended: %w",
					volume, strings.Join(silent, ", "), context.Cause(ctx))
			}
			return "", fmt.Errorf("wait for the device of volume %s: %w", volume, context.Cause(ctx))
		}
	}
}

// lookUp asks the device that had the name last, and then all that may be the volume's. None is empty; silent are those that did not answer.
func (m *Mounter) lookUp(ctx context.Context, volume string) (found string, silent []string, err error) {
	devices, err := m.candidates(volume)
	if err != nil {
		return "", nil, err
	}
	for _, device := range devices {
		if ctx.Err() != nil {
			break
		}
		name, err := m.ask(ctx, device, lookPatience)
		switch {
		case err == nil && name == volume:
			return device, nil, nil
		case errors.Is(err, errSilent):
			silent = append(silent, device)
		}
		// Another error is one of a device that goes away just now, or comes.
	}
	return "", silent, nil
}

// candidates are the devices that a volume may have: first that which had the name last, then the newest, as a volume that nobody has asked for is most
// often new. Those that are known to be of other pools are none, and are not opened.
func (m *Mounter) candidates(volume string) ([]string, error) {
	entries, err := os.ReadDir(m.block)
	if err != nil {
		return nil, fmt.Errorf("list block devices: %w", err)
	}
	disks := map[string]answer{}
	for _, e := range entries {
		device := path.Join("/dev", e.Name())
		if !strings.HasPrefix(device, devicePrefix) {
			continue
		}
		if last := m.last(device); last.volume == "" || poolOf(last.volume) == poolOf(volume) {
			disks[device] = last
		}
	}
	return slices.SortedFunc(maps.Keys(disks), func(a, b string) int {
		switch is, other := disks[a].volume == volume, disks[b].volume == volume; {
		case is && !other:
			return -1
		case other && !is:
			return 1
		}
		return cmp.Or(cmp.Compare(disks[b].disk, disks[a].disk), strings.Compare(a, b))
	}), nil
}

// poolOf is the pool of a volume.
func poolOf(volume string) string {
	pool, _, _ := strings.Cut(volume, "/")
	return pool
}

// keep opens the device of a volume. The file's name is its path, and both are the volume's until it is closed: a path alone is another volume's as soon as this one
// is destroyed, by whoever can do that past the driver, and its number given out again. What is open is neither (dsl_destroy_head_check_impl in
// module/zfs/dsl_destroy.c, zvol_remove_minors_impl in module/zfs/zvol.c of OpenZFS 2.3.9). It is open for reading, and by nobody alone: so mount(2), and programs
// that want a device for themselves (O_EXCL, as mke2fs and e2fsck do), get it as if it were not.
func (m *Mounter) keep(ctx context.Context, volume string) (*os.File, error) {
	device, err := m.device(ctx, volume)
	if err != nil {
		return nil, err
	}
	f, err := m.file(device)
	if err != nil {
		return nil, fmt.Errorf("open the device of volume %s: %w", volume, err)
	}
	is, err := m.nameOpen(f)
	if err == nil && is != volume {
		err = fmt.Errorf("it has become that of %s", is)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the device of volume %s, %s: %w", volume, device, err), f.Close())
	}
	return f, nil
}

// openDevice opens a device of devtmpfs.
func openDevice(device string) (*os.File, error) {
	return os.OpenFile(device, os.O_RDONLY|unix.O_NOFOLLOW, 0)
}

// SizeBytes implements csi.Mounts.
func (m *Mounter) SizeBytes(ctx context.Context, volume string) (int64, error) {
	device, err := m.device(ctx, volume)
	if err != nil {
		return 0, err
	}
	return sectors(path.Join(m.block, path.Base(device), "size"))
}

// sectors reads a size in sectors of 512 bytes, whatever the device's are (Documentation/ABI/stable/sysfs-block), and returns bytes.
func sectors(file string) (int64, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("read size: the device is gone: %w", err)
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || n < 0 || n > 1<<53 {
		return 0, fmt.Errorf("read %s: %q is no number of sectors", file, text)
	}
	return n * 512, nil
}
