package csi

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"strconv"
	"strings"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// wish is a volume that is asked for.
type wish struct {
	id, name string
	parameters
	access access
	size   sizes
	// source is as in markSource, empty for none.
	source string
	kind   zfs.Kind
}

// dataset is where it will be.
func (w wish) dataset() string { return w.parent + "/" + w.id }

// CreateVolume implements the Controller service.
func (d *Driver) CreateVolume(ctx context.Context, r *spec.CreateVolumeRequest) (*spec.CreateVolumeResponse, error) {
	w, err := d.wishOf(r)
	if err != nil {
		return nil, err
	}
	if err := d.checkTopology(ctx, r.GetAccessibilityRequirements(), w.parent); err != nil {
		return nil, err
	}
	v, err := d.ensure(ctx, w)
	if err != nil {
		d.tidy(ctx)
		return nil, failure(err, "create volume %s", w.id)
	}
	info, err := d.info(ctx, v)
	if err != nil {
		return nil, failure(err, "create volume %s", w.id)
	}
	return &spec.CreateVolumeResponse{Volume: info}, nil
}

// ensure returns the volume, which is made if it is not there, and finished if it was begun.
func (d *Driver) ensure(ctx context.Context, w wish) (volume, error) {
	release, err := d.locks.take(ctx, w.keys()...)
	if err != nil {
		return volume{}, err
	}
	defer release()
	v, err := d.find(ctx, w.id)
	if away := err; errors.Is(err, zfs.ErrSuspended) {
		// What is wrong with one pool does not keep volumes from being made in others, as with one that is not imported.
		if v, err = d.findIn(ctx, w.parent, w.id); errors.Is(err, zfs.ErrNotExist) {
			d.Logger.Warn("make volume without having looked for it in a pool that is suspended", "volume", w.id, "parent", w.parent, "error", away)
		}
	}
	fresh := errors.Is(err, zfs.ErrNotExist)
	switch {
	case fresh:
		v, err = d.create(ctx, w)
	case err == nil:
		err = w.matches(v)
	}
	if err != nil {
		return v, err
	}
	err = d.grow(ctx, &v, v.capacity)
	if fresh && (errors.Is(err, zfs.ErrNoSpace) || errors.Is(err, zfs.ErrInvalid)) {
		// Kubernetes takes such an answer for one that there is no volume, and may make it on another node. Nobody has had this one.
		d.dirty.Store(true)
		return v, errors.Join(err, d.System.Destroy(ctx, v.dataset))
	}
	return v, err
}

// wishOf reads a request, without looking at what is there.
func (d *Driver) wishOf(r *spec.CreateVolumeRequest) (wish, error) {
	w := wish{name: r.GetName(), id: componentOf(r.GetName())}
	if err := checkName(r.GetName()); err != nil {
		return w, err
	}
	var err error
	if w.access, err = d.accessesOf(r.GetVolumeCapabilities()); err != nil {
		return w, err
	}
	if w.parameters, err = d.parametersOf(r.GetParameters(), r.GetMutableParameters()); err != nil {
		return w, err
	}
	if err := w.choose(); err != nil {
		return w, err
	}
	if w.source, err = sourceOf(r.GetVolumeContentSource()); err != nil {
		return w, err
	}
	w.size, err = sizesOf(r.GetCapacityRange(), w.granularity(), w.least())
	return w, err
}

// choose decides what the volume will be of capabilities and parameters.
func (w *wish) choose() error {
	asked := w.access.fileSystem
	switch fixed := w.parameters.fileSystem; {
	case w.access.block && fixed != "":
		return refuse("parameter fsType %s: the claim wants a device (volumeMode Block)", fixed)
	case asked != "" && fixed != "" && asked != fixed:
		return refuse("parameter fsType %s: the claim wants %s", fixed, asked)
	case w.access.block:
		w.kind, w.fileSystem = zfs.Volume, ""
	default:
		w.fileSystem = firstOf(fixed, asked, zfsName)
		w.kind = zfs.Volume
		if w.fileSystem == zfsName {
			w.kind = zfs.Filesystem
		}
	}
	return checkKind(w.properties, w.kind)
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// keys are the volumes that have to be left alone by others.
func (w wish) keys() []string {
	kind, id, _ := strings.Cut(w.source, "/")
	if kind == "snapshot" {
		id, _, _ = strings.Cut(id, "@")
	}
	if id == "" || id == w.id {
		return []string{w.id}
	}
	return []string{w.id, id}
}

// matches says why a volume that is there is none that was asked for.
func (w wish) matches(v volume) error {
	switch {
	case v.parent != w.parent:
		return exists("volume %s is there, below %s, not %s", v.id, v.parent, w.parent)
	case v.kind != w.kind || v.fileSystem != w.fileSystem:
		return exists("volume %s is there, as %s", v.id, describe(access{block: v.block(), fileSystem: v.fileSystem}))
	case v.source != w.source:
		return exists("volume %s is there, made of %s, not of %s", v.id, firstOf(v.source, "nothing"), firstOf(w.source, "nothing"))
	case v.parameters != w.text:
		return exists("volume %s is there, with parameters %s, not %s", v.id, v.parameters, w.text)
	case !w.size.fit(v.capacity):
		return exists("volume %s is there, with %d bytes: expected %s", v.id, v.capacity, w.size)
	}
	return nil
}

// create makes the volume, with all that has to be known of it.
func (d *Driver) create(ctx context.Context, w wish) (volume, error) {
	var err error
	if w.source != "" {
		err = d.createFrom(ctx, w)
	} else {
		capacity := w.size.choose(defaultBytes)
		o := zfs.CreateOptions{Properties: w.zfsProperties(capacity)}
		if w.kind == zfs.Volume {
			o.SizeBytes, o.Sparse = uint64(capacity), w.isSparse()
		} else {
			maps.Copy(o.Properties, w.room(capacity))
		}
		err = d.System.Create(ctx, w.dataset(), o)
	}
	if errors.Is(err, zfs.ErrNotExist) && w.source == "" {
		return volume{}, status.Errorf(codes.Unavailable, "file system %s is not there: its pool is not imported, or it was not made yet", w.parent)
	}
	if errors.Is(err, zfs.ErrExist) {
		return volume{}, exists("dataset %s is there, and was not made by the driver: rename it", w.dataset())
	}
	if err != nil {
		return volume{}, err
	}
	return d.find(ctx, w.id)
}

// isSparse says whether nothing is reserved. A device is whole if nothing else is said, as what is on it breaks when the pool is full; a dataset only
// says so.
func (w wish) isSparse() bool {
	if w.sparse != nil {
		return *w.sparse
	}
	return w.kind == zfs.Filesystem
}

// room is how much a file system gets.
func (w wish) room(capacity int64) map[string]string {
	size := strconv.FormatInt(capacity, 10)
	if w.isSparse() {
		return map[string]string{"refquota": size}
	}
	return map[string]string{"refquota": size, "refreservation": size}
}

// zfsProperties are those of the new dataset.
func (w wish) zfsProperties(capacity int64) map[string]string {
	p := maps.Clone(w.properties)
	maps.Copy(p, map[string]string{
		markVolume: w.id, markName: url.QueryEscape(w.name), markCapacity: strconv.FormatInt(capacity, 10), markGeneration: "1",
		markFileSystem: firstOf(w.fileSystem, none), markSource: firstOf(w.source, none), markParameters: w.text,
	})
	if w.kind == zfs.Filesystem {
		// Mounted by the driver and by nobody else. Pods do not get at snapshots through .zfs, where the kernel would start a program to mount them
		// (zfsctl_snapshot_mount in module/os/linux/zfs/zfs_ctldir.c).
		p["mountpoint"], p["snapdir"] = "legacy", "disabled"
	} else {
		// The kernel does not look for partitions on a device of that mode (zfsprops(7)).
		p["volmode"] = "dev"
	}
	return p
}
