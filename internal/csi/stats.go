package csi

import (
	"context"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
)

// NodeGetVolumeStats implements the Node service.
func (d *Driver) NodeGetVolumeStats(ctx context.Context, r *spec.NodeGetVolumeStatsRequest) (*spec.NodeGetVolumeStatsResponse, error) {
	v, m, err := d.at(ctx, r.GetVolumeId(), r.GetVolumePath())
	if err != nil {
		return nil, failure(err, "read usage")
	}
	if v.block() {
		size, err := d.Mounts.SizeBytes(ctx, v.dataset)
		if err != nil {
			return nil, failure(err, "read size of volume %s", v.id)
		}
		return &spec.NodeGetVolumeStatsResponse{Usage: []*spec.VolumeUsage{{Unit: spec.VolumeUsage_BYTES, Total: size}}}, nil
	}
	u, err := d.Mounts.Usage(ctx, m.Target)
	if err != nil {
		return nil, failure(err, "read usage of volume %s", v.id)
	}
	return &spec.NodeGetVolumeStatsResponse{Usage: []*spec.VolumeUsage{
		{Unit: spec.VolumeUsage_BYTES, Total: u.TotalBytes, Used: u.UsedBytes, Available: u.AvailableBytes},
		{Unit: spec.VolumeUsage_INODES, Total: u.TotalInodes, Used: u.UsedInodes, Available: u.AvailableInodes},
	}}, nil
}

// at returns the volume that is staged or published on a path, and the mount there.
func (d *Driver) at(ctx context.Context, id, path string) (volume, Mount, error) {
	switch {
	case id == "":
		return volume{}, Mount{}, refuse("volume id: expected one")
	case path == "":
		return volume{}, Mount{}, refuse("volume path: expected one")
	}
	v, err := d.find(ctx, id)
	if err != nil {
		return v, Mount{}, err
	}
	target, err := d.target(path)
	if err != nil {
		return v, Mount{}, notFound("volume %s is not there: %v", id, err)
	}
	if v.block() {
		target = publishedAt(target)
	}
	m, err := d.mountedOn(ctx, target)
	if err != nil {
		return v, Mount{}, err
	}
	if m == nil || m.Volume != v.dataset {
		return v, Mount{}, notFound("volume %s is not mounted on %s", id, path)
	}
	return v, *m, nil
}

// NodeExpandVolume implements the Node service. It grows the volume, too, if that has not been done by ControllerExpandVolume. On kubelet's socket it is another, in
// serve.go.
func (d *Driver) NodeExpandVolume(ctx context.Context, r *spec.NodeExpandVolumeRequest) (*spec.NodeExpandVolumeResponse, error) {
	return d.expandAtNode(ctx, r, true)
}

// expandAtNode is NodeExpandVolume. If it does not enlarge, it finishes what was begun, up to the size that the volume is to have already.
func (d *Driver) expandAtNode(ctx context.Context, r *spec.NodeExpandVolumeRequest, enlarge bool) (*spec.NodeExpandVolumeResponse, error) {
	release, err := d.take(ctx, r.GetVolumeId())
	if err != nil {
		return nil, err
	}
	defer release()
	v, m, err := d.at(ctx, r.GetVolumeId(), r.GetVolumePath())
	if err != nil {
		return nil, failure(err, "expand volume")
	}
	if err := d.capable(v, r.GetVolumeCapability()); err != nil {
		return nil, err
	}
	if asked := r.GetCapacityRange().GetRequiredBytes(); !enlarge && asked > v.capacity {
		return nil, outOfRange("volume %s has %d bytes, and not %d: at the node nothing is made larger than ControllerExpandVolume has made it", v.id, v.capacity, asked)
	}
	if err := d.enlarge(ctx, &v, r.GetCapacityRange()); err != nil {
		return nil, err
	}
	// What is mounted read-only does not grow (EROFS of mnt_want_write_file, as for EXT4_IOC_RESIZE_FS in fs/ext4/ioctl.c of Linux 6.12), and kubelet keeps from its pod
	// what has not grown: it does when it is staged to be written to.
	if (v.fileSystem == ext4 || v.fileSystem == xfs) && !m.ReadOnly {
		if err := d.Mounts.Grow(ctx, v.fileSystem, m.Target); err != nil {
			return nil, failure(err, "grow file system of volume %s", v.id)
		}
	}
	return &spec.NodeExpandVolumeResponse{CapacityBytes: v.capacity}, nil
}
