package csi

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// NodeStageVolume implements the Node service: it mounts the volume once, and where that is needed makes, mends and grows the file system on it. A
// device has nothing to be staged; that it is there is seen when it is published.
func (d *Driver) NodeStageVolume(ctx context.Context, r *spec.NodeStageVolumeRequest) (*spec.NodeStageVolumeResponse, error) {
	id := r.GetVolumeId()
	switch {
	case id == "":
		return nil, refuse("volume id: expected one")
	case r.GetStagingTargetPath() == "":
		return nil, refuse("staging target path: expected one")
	case r.GetVolumeCapability() == nil:
		return nil, refuse("volume capability: expected one")
	}
	target, err := d.target(r.GetStagingTargetPath())
	if err != nil {
		return nil, refuse("staging target path: %v", err)
	}
	a, err := d.accessAtNode(r.GetVolumeCapability())
	if err != nil {
		return nil, err
	}
	release, err := d.take(ctx, id)
	if err != nil {
		return nil, err
	}
	defer release()
	v, err := d.usable(ctx, id, a, r.GetVolumeContext())
	if err != nil {
		return nil, failure(err, "stage volume")
	}
	if err := d.stage(ctx, v, a, target); err != nil {
		return nil, failure(err, "stage volume %s", id)
	}
	return &spec.NodeStageVolumeResponse{}, nil
}

// usable returns the volume, if it is what a capability asks for and not older than what Kubernetes knows.
func (d *Driver) usable(ctx context.Context, id string, a access, volumeContext map[string]string) (volume, error) {
	v, err := d.find(ctx, id)
	if err != nil {
		return v, err
	}
	if why := v.fits(a); why != "" {
		return v, precondition("%s", why)
	}
	return v, v.current(volumeContext)
}

// current says why a volume is not the one that Kubernetes knows by a context.
func (v volume) current(volumeContext map[string]string) error {
	text, ok := volumeContext[contextGeneration]
	if !ok {
		return nil
	}
	asked, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return refuse("volume context: generation %.64q is no number", text)
	}
	if asked > v.generation {
		return precondition("volume %s is a copy of generation %d on this node, and another of generation %d is the one to use",
			v.id, v.generation, asked)
	}
	return nil
}

// stage mounts a volume that has a file system, unless it is mounted.
func (d *Driver) stage(ctx context.Context, v volume, a access, target string) error {
	if v.block() {
		return nil
	}
	// What was begun to grow is grown before the file system is. That a device has no more reserved than it had before is no reason not to have it.
	switch err := d.grow(ctx, &v, v.capacity); {
	case errors.Is(err, zfs.ErrNoSpace) && v.short:
		d.Logger.Warn("a device has grown, and there is no room to reserve that", "volume", v.id, "error", err)
	case err != nil:
		return err
	}
	m := Mount{Volume: v.dataset, Target: target, FileSystem: v.fileSystem, ReadOnly: slices.Contains(a.flags, "ro"), Options: mountOptions(a.flags)}
	there, err := d.mountedOn(ctx, target)
	if err != nil {
		return err
	}
	if there != nil {
		switch {
		case there.Volume != v.dataset:
			return precondition("something else is mounted on %s: %s", target, firstOf(there.Volume, "none of ZFS"))
		case there.ReadOnly != m.ReadOnly:
			return exists("volume %s is staged on %s, read-only: %t, and not as asked", v.id, target, there.ReadOnly)
		}
	} else {
		if err := d.prepare(ctx, v); err != nil {
			return err
		}
		if err := d.Mounts.Mount(ctx, m); err != nil {
			return err
		}
	}
	if v.kind == zfs.Filesystem || m.ReadOnly {
		return nil
	}
	err = d.Mounts.Grow(ctx, v.fileSystem, target)
	if err != nil && there == nil {
		// Kubelet takes what was not staged for not mounted, and never has it unmounted.
		err = errors.Join(err, d.Mounts.Unmount(context.WithoutCancel(ctx), target))
	}
	return err
}

// mountOptions are the options of a mount, without that which is a field of its own. Devices in a volume mean nothing.
func mountOptions(flags []string) []string {
	options := []string{"nodev"}
	for _, flag := range flags {
		if flag != "ro" && !slices.Contains(options, flag) {
			options = append(options, flag)
		}
	}
	return options
}

// prepare sees to it that there is a whole file system on a device. Only a device on which nothing is, or on which one was begun to be made, gets
// one: what is there else was written by somebody.
func (d *Driver) prepare(ctx context.Context, v volume) error {
	if v.kind == zfs.Filesystem {
		return nil
	}
	what := ""
	if !v.formatting {
		var err error
		if what, err = d.Mounts.Holds(ctx, v.dataset); err != nil {
			return err
		}
	}
	switch what {
	case v.fileSystem:
		return d.lasting(ctx, v, "checked", func(ctx context.Context) error { return d.Mounts.Repair(ctx, v.dataset, v.fileSystem) })
	case "":
	default:
		return precondition("volume %s should have %s on it, and has %s: nothing of it is overwritten; clear the device by hand, or delete the volume",
			v.id, v.fileSystem, what)
	}
	if err := d.System.Set(ctx, v.dataset, map[string]string{markFormatting: v.fileSystem}); err != nil {
		return err
	}
	return d.lasting(ctx, v, "made", func(ctx context.Context) error {
		if err := d.Mounts.Format(ctx, v.dataset, v.fileSystem); err != nil {
			return err
		}
		return d.System.Inherit(ctx, v.dataset, markFormatting)
	})
}

// lasting has something done with the file system of a volume that may take longer than kubelet waits, which is two minutes (csiTimeout in pkg/volume/csi/csi_plugin.go
// of Kubernetes 1.36): it goes on when the call has ended, since each call would begin it anew, and none would come to its end. The volume is the call's until then,
// and calls that are made again are Aborted meanwhile, at once (take). It ends with the driver.
func (d *Driver) lasting(ctx context.Context, v volume, what string, do func(context.Context) error) error {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	go func() {
		select {
		case <-d.ended:
			stop()
		case <-ctx.Done():
		}
	}()
	log := d.Logger.With("volume", v.id, "what", what, "fileSystem", v.fileSystem)
	log.Info("work on the file system of a volume begins")
	began := time.Now()
	d.works.Store(v.id, work{what, began})
	defer d.works.Delete(v.id)
	err := do(ctx)
	log.Info("work on the file system of a volume has ended", "after", time.Since(began).Round(time.Millisecond), "error", err)
	return err
}

// work is what is done with the file system of a volume, such as "checked", and since when.
type work struct {
	what  string
	since time.Time
}

// idle is ABORTED while the file system of a volume is worked on, and says so.
func (d *Driver) idle(id string) error {
	if w, ok := d.works.Load(id); ok {
		return status.Errorf(codes.Aborted, "volume %s: its file system is being %s since %s", id, w.(work).what, w.(work).since.UTC().Format(time.RFC3339))
	}
	return nil
}

// take locks volumes for a call. Where one is worked on for long the caller is told that, instead of waiting until it ends the call without a word.
func (d *Driver) take(ctx context.Context, keys ...string) (release func(), err error) {
	for _, key := range keys {
		if err := d.idle(key); err != nil {
			return nil, err
		}
	}
	return d.locks.take(ctx, keys...)
}

// NodeUnstageVolume implements the Node service. A volume that is there no more is unmounted as any other.
func (d *Driver) NodeUnstageVolume(ctx context.Context, r *spec.NodeUnstageVolumeRequest) (*spec.NodeUnstageVolumeResponse, error) {
	id := r.GetVolumeId()
	switch {
	case id == "":
		return nil, refuse("volume id: expected one")
	case r.GetStagingTargetPath() == "":
		return nil, refuse("staging target path: expected one")
	}
	target, err := d.target(r.GetStagingTargetPath())
	if err != nil {
		return nil, refuse("staging target path: %v", err)
	}
	release, err := d.take(ctx, id)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := d.Mounts.Unmount(ctx, target); err != nil {
		return nil, failure(err, "unstage volume %.64q", id)
	}
	return &spec.NodeUnstageVolumeResponse{}, nil
}

// mountedOn returns what is mounted on a target, the topmost where several are, or nil.
func (d *Driver) mountedOn(ctx context.Context, target string) (*Mount, error) {
	all, err := d.Mounts.Mounted(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range slices.Backward(all) {
		if m.Target == target {
			return &m, nil
		}
	}
	return nil, nil
}

// mountsOf returns where a volume is mounted, or its device bound.
func (d *Driver) mountsOf(ctx context.Context, v volume) ([]Mount, error) {
	all, err := d.Mounts.Mounted(ctx)
	return slices.DeleteFunc(all, func(m Mount) bool { return m.Volume != v.dataset }), err
}
