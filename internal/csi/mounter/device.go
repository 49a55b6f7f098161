package mounter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
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
	for {
		device, err := m.lookUp(volume)
		if err != nil || device != "" {
			return device, err
		}
		select {
		case <-time.After(deviceLook):
		case <-ctx.Done():
			return "", fmt.Errorf("wait for the device of volume %s: %w", volume, context.Cause(ctx))
		}
	}
}

// lookUp asks the device that had the name last, and then all. None is empty.
func (m *Mounter) lookUp(volume string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if device := m.devices[volume]; device != "" {
		if name, err := nameOf(device); err == nil && name == volume {
			return device, nil
		}
	}
	entries, err := os.ReadDir(sysBlock)
	if err != nil {
		return "", fmt.Errorf("list block devices: %w", err)
	}
	clear(m.devices)
	for _, e := range entries {
		device := path.Join("/dev", e.Name())
		if !strings.HasPrefix(device, devicePrefix) {
			continue
		}
		name, err := nameOf(device)
		if err != nil {
			continue // it goes away just now, or comes
		}
		m.devices[name] = device
	}
	return m.devices[volume], nil
}

// nameOf asks a device for its volume.
func nameOf(device string) (string, error) {
	f, err := os.OpenFile(device, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	name, err := zvolName(f)
	if err != nil {
		return "", fmt.Errorf("ask %s for its volume: %w", device, err)
	}
	return name, nil
}

// SizeBytes implements csi.Mounts.
func (m *Mounter) SizeBytes(ctx context.Context, volume string) (int64, error) {
	device, err := m.device(ctx, volume)
	if err != nil {
		return 0, err
	}
	return sectors(path.Join(sysBlock, path.Base(device), "size"))
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
