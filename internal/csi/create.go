package csi

import (
	"context"
	"errors"
	"fmt"
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

// dataset is where it will be, and unmade where it is made.
func (w wish) dataset() string { return w.parent + "/" + w.id }
func (w wish) unmade() string  { return unmade(w.parent, w.id) }

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
	release, err := d.take(ctx, w.keys()...)
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
	if err = d.grow(ctx, &v, v.capacity); err == nil {
		err = d.show(ctx, v)
	}
	if (fresh || v.hidden) && (errors.Is(err, zfs.ErrNoSpace) || errors.Is(err, zfs.ErrInvalid)) {
		// Kubernetes takes such an answer for one that there is no volume, and may make it on another node. Nobody has had this one, also where an earlier call began it:
		// what is hidden was never the answer to one.
		d.dirty.Store(true)
		if left := d.System.Destroy(ctx, v.dataset); left != nil {
			return v, status.Errorf(codes.Aborted, "volume %s cannot be made, and is not taken away: %v: %v", w.id, err, left)
		}
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

// create makes the volume, with all that has to be known of it. That is set by other transactions than the one that makes the dataset (zfs_ioc_create and
// zfs_ioc_clone in module/zfs/zfs_ioctl.c of OpenZFS 2.3.9), and after a power cut between the two nobody could tell whose the dataset is. So it has another name
// until it has all, and one transaction gives it its own.
func (d *Driver) create(ctx context.Context, w wish) (volume, error) {
	if err := d.build(ctx, w); err != nil {
		d.dirty.Store(true)
		return volume{}, err
	}
	return d.findIn(ctx, w.parent, w.id) // another parent may have one of the name by now: its pool is back
}

// build is create without the answer. What it leaves after an error is discarded.
func (d *Driver) build(ctx context.Context, w wish) error {
	begin := d.createFrom
	if w.source == "" {
		begin = d.createBlank
	}
	err := begin(ctx, w)
	if errors.Is(err, zfs.ErrExist) {
		// An earlier call was cut.
		if _, err = d.discard(ctx, w.unmade(), w.id); err == nil || errors.Is(err, zfs.ErrNotExist) {
			d.dirty.Store(true) // what it was a clone of may have been another
			err = begin(ctx, w)
		}
	}
	switch {
	case errors.Is(err, zfs.ErrNotExist) && w.source == "":
		return status.Errorf(codes.Unavailable, "file system %s is not there: its pool is not imported, or it was not made yet", w.parent)
	case errors.Is(err, zfs.ErrExist):
		return status.Errorf(codes.Aborted, "dataset %s has come meanwhile", w.unmade())
	case errors.Is(err, errForeign):
		return precondition("%v", err)
	case err != nil:
		return err
	}
	err = d.System.Rename(ctx, w.unmade(), w.dataset())
	switch {
	case errors.Is(err, zfs.ErrExist):
		return exists("dataset %s is there, and was not made by the driver: rename it", w.dataset())
	case errors.Is(err, zfs.ErrBusy) || errors.Is(err, zfs.ErrNotExist):
		return status.Errorf(codes.Aborted, "give the new volume %s its name: %v", w.id, err)
	}
	return err
}

// createBlank makes a volume of nothing, under the name that it has until it is whole.
func (d *Driver) createBlank(ctx context.Context, w wish) error {
	capacity := w.size.choose(defaultBytes)
	o := zfs.CreateOptions{Properties: w.zfsProperties(capacity)}
	if w.kind == zfs.Volume {
		o.SizeBytes, o.Sparse = uint64(capacity), w.isSparse()
	} else {
		maps.Copy(o.Properties, w.room(capacity))
	}
	return d.System.Create(ctx, w.unmade(), o)
}

// blankBytes is more than is in a dataset into which nobody has written anything: some blocks of each kind, in several copies, whatever the least is that the
// pool's disks take.
const blankBytes = 2 * mib

// errForeign is that a dataset has a name of the driver's own, and is none.
var errForeign = errors.New("was not made by the driver, and has something in it")

// discard destroys what a call that was cut has left of a volume, under the name that it had until it was whole. It returns the dataset that this was cloned from.
// What has no mark and is not blank is errForeign, and stays; and so is what has something below it, which the driver never makes there.
func (d *Driver) discard(ctx context.Context, dataset, id string) (origin string, err error) {
	found, err := d.System.List(ctx, zfs.Query{
		Roots: []string{dataset}, Kinds: []zfs.Kind{zfs.Filesystem, zfs.Volume, zfs.Snapshot}, Depth: 1, Properties: []string{markVolume, "origin", "written"},
	})
	if err != nil {
		return "", err
	}
	ours, below, written := false, false, int64(0)
	var snapshots []string
	for _, one := range found {
		if of, _, _ := strings.Cut(one.Name, "@"); of != dataset {
			below = true
			continue
		}
		written += number(one.Properties["written"].Value)
		if one.Kind == zfs.Snapshot {
			snapshots = append(snapshots, one.Name)
			continue
		}
		ours = own(one, markVolume) == id
		origin, _, _ = strings.Cut(one.Properties["origin"].Value, "@")
	}
	if below || !ours && written > blankBytes {
		return "", fmt.Errorf("dataset %s is there, and %w: rename it", dataset, errForeign)
	}
	if len(snapshots) > 0 {
		// By a schedule. What they have is nothing, as what the dataset has.
		err = d.System.DestroySnapshots(ctx, snapshots)
	}
	if err == nil {
		err = d.System.Destroy(ctx, dataset)
	}
	if errors.Is(err, zfs.ErrBusy) {
		// Devices are opened for a moment, to be asked whose they are.
		return "", status.Errorf(codes.Aborted, "take away what a call that was cut has left of volume %s: %v", id, err)
	}
	if err != nil {
		return "", fmt.Errorf("take away what a call that was cut has left of volume %s: %w", id, err)
	}
	return origin, nil
}

// show has the kernel make the device of a volume that is whole. With that mode it looks for no partitions (zfsprops(7)). Until then there is to be none: the kernel
// makes and takes away devices some time after, one by one and by the names that the volumes had, and what was renamed before its turn to be made had none for good;
// to be taken away, it does not matter (zvol_set_volmode_impl in module/zfs/zvol.c of OpenZFS 2.3.9).
func (d *Driver) show(ctx context.Context, v volume) error {
	if !v.hidden {
		return nil
	}
	return d.System.Set(ctx, v.dataset, map[string]string{"volmode": "dev"})
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
		p["volmode"] = "none" // until it is whole (show)
	}
	return p
}
