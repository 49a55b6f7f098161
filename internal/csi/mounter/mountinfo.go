package mounter

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/moby/sys/mountinfo"

	"github.com/cyvive/cyvive/internal/csi"
)

// Mounted implements csi.Mounts.
func (m *Mounter) Mounted(ctx context.Context) ([]csi.Mount, error) {
	infos, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) {
		return !strings.HasPrefix(i.Mountpoint, m.root+"/"), ctx.Err() != nil
	})
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("read mountinfo: %w", err)
	}
	all := make([]csi.Mount, 0, len(infos))
	for _, i := range infos {
		mount, device := mountOf(m.root, i)
		if device != "" {
			if mount.Volume, err = m.mounted(ctx, device); err != nil {
				return nil, fmt.Errorf("read mountinfo: %s: %w", mount.Target, err)
			}
		}
		all = append(all, mount)
	}
	return all, nil
}

// mountOf reads a line of mountinfo. Where a device is mounted, or bound, its path is returned, which says the volume.
func mountOf(root string, i *mountinfo.Info) (_ csi.Mount, device string) {
	m := csi.Mount{Target: strings.TrimPrefix(i.Mountpoint, root+"/"), FileSystem: i.FSType}
	for option := range strings.SplitSeq(i.Options, ",") {
		m.ReadOnly = m.ReadOnly || option == "ro"
	}
	switch i.FSType {
	case "zfs":
		m.Volume = i.Source
	case "ext4", "xfs":
		device = i.Source
	case "devtmpfs":
		// Bound is one file of it, and the root of the mount is the file's name.
		m.FileSystem, device = "", path.Join("/dev", i.Root)
	}
	if device != "" && !strings.HasPrefix(device, devicePrefix) {
		device = ""
	}
	return m, device
}
