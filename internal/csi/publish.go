package csi

import (
	"context"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
)

// NodePublishVolume implements the Node service: it binds what is staged, or the device, to where kubelet wants it for a pod.
func (d *Driver) NodePublishVolume(ctx context.Context, r *spec.NodePublishVolumeRequest) (*spec.NodePublishVolumeResponse, error) {
	id := r.GetVolumeId()
	switch {
	case id == "":
		return nil, refuse("volume id: expected one")
	case r.GetTargetPath() == "":
		return nil, refuse("target path: expected one")
	case r.GetVolumeCapability() == nil:
		return nil, refuse("volume capability: expected one")
	case r.GetStagingTargetPath() == "":
		return nil, precondition("staging target path: expected one, as the volume has to be staged first")
	}
	p := publication{}
	var err error
	if p.target, err = d.target(r.GetTargetPath()); err != nil {
		return nil, refuse("target path: %v", err)
	}
	if p.staging, err = d.target(r.GetStagingTargetPath()); err != nil {
		return nil, refuse("staging target path: %v", err)
	}
	if p.access, err = d.accessAtNode(r.GetVolumeCapability()); err != nil {
		return nil, err
	}
	p.readOnly = r.GetReadonly() || p.access.readOnly()
	if p.access.block && p.readOnly {
		return nil, refuse("a device cannot be published read-only: the kernel lets one be written through a read-only mount; use volumeMode Filesystem")
	}
	if p.access.block && isLock(p.target) {
		// What is held for it would be held for another target, too.
		return nil, refuse("target path: expected one that is not where kubelet binds devices itself")
	}
	release, err := d.take(ctx, id)
	if err != nil {
		return nil, err
	}
	defer release()
	if p.volume, err = d.usable(ctx, id, p.access, r.GetVolumeContext()); err != nil {
		return nil, failure(err, "publish volume")
	}
	if err := d.publish(ctx, p); err != nil {
		return nil, failure(err, "publish volume %s", id)
	}
	return &spec.NodePublishVolumeResponse{}, nil
}

// publication is what is asked for.
type publication struct {
	volume          volume
	access          access
	staging, target string
	readOnly        bool
}

func (d *Driver) publish(ctx context.Context, p publication) error {
	there, err := d.mountedOn(ctx, p.target)
	if err != nil {
		return err
	}
	staged, err := d.mountedOn(ctx, p.staging)
	if err != nil {
		return err
	}
	// What is staged read-only is published so, whatever is asked, and is the same when it is asked again.
	p.readOnly = p.readOnly || staged != nil && staged.Volume == p.volume.dataset && staged.ReadOnly
	if there != nil {
		switch {
		case there.Volume != p.volume.dataset:
			return precondition("something else is mounted on %s: %s", p.target, firstOf(there.Volume, "none of ZFS"))
		case there.ReadOnly != p.readOnly:
			return exists("volume %s is published on %s, read-only: %t, and not as asked", p.volume.id, p.target, there.ReadOnly)
		}
		return nil
	}
	if err := d.alone(ctx, p); err != nil {
		return err
	}
	if p.volume.block() {
		return d.Mounts.BindDevice(ctx, p.volume.dataset, p.target)
	}
	if staged == nil || staged.Volume != p.volume.dataset {
		return precondition("volume %s is not staged on %s", p.volume.id, p.staging)
	}
	return d.Mounts.Bind(ctx, p.staging, p.target, p.readOnly)
}

// alone says whether a volume that only one may have has another already (the tables of NodePublishVolume in the specification).
func (d *Driver) alone(ctx context.Context, p publication) error {
	if p.access.mode == spec.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER {
		return nil
	}
	all, err := d.mountsOf(ctx, p.volume)
	if err != nil {
		return err
	}
	for _, m := range all {
		if m.Target != p.staging {
			return precondition("volume %s is published on %s, and access mode %s lets it be on one path", p.volume.id, m.Target, p.access.mode)
		}
	}
	return nil
}

// NodeUnpublishVolume implements the Node service.
func (d *Driver) NodeUnpublishVolume(ctx context.Context, r *spec.NodeUnpublishVolumeRequest) (*spec.NodeUnpublishVolumeResponse, error) {
	id := r.GetVolumeId()
	switch {
	case id == "":
		return nil, refuse("volume id: expected one")
	case r.GetTargetPath() == "":
		return nil, refuse("target path: expected one")
	}
	target, err := d.target(r.GetTargetPath())
	if err != nil {
		return nil, refuse("target path: %v", err)
	}
	release, err := d.take(ctx, id)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := d.Mounts.Unmount(ctx, target); err != nil {
		return nil, failure(err, "unpublish volume %.64q", id)
	}
	if !isLock(target) {
		if err := d.Mounts.ReleaseDevice(ctx, target); err != nil {
			return nil, failure(err, "unpublish volume %.64q", id)
		}
	}
	if err := d.Mounts.Remove(ctx, target); err != nil {
		return nil, failure(err, "unpublish volume %.64q", id)
	}
	return &spec.NodeUnpublishVolumeResponse{}, nil
}
