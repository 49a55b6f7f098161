package storage

import (
	"context"
	"fmt"
	"io/fs"
)

// Disk is the side of block devices. Methods that change something may be repeated after an interruption at any point.
type Disk interface {
	// Partitions returns those of the disk that the kernel knows, by number.
	Partitions(ctx context.Context, disk string) ([]Partition, error)
	// Contents reads what is on a partition. It may be mounted meanwhile; then Clean means nothing.
	Contents(ctx context.Context, device string) (Contents, error)
	// Grow moves the end of the last partition, number, to the end of the disk: in both partition tables and in the kernel.
	Grow(ctx context.Context, disk string, number int) error
	// Format makes a file system with the label. It does not check what was there.
	Format(ctx context.Context, device, label string) error
	// FinishFormat removes the mark of a Format that was interrupted after the file system was complete.
	FinishFormat(ctx context.Context, device string) error
	// Check repairs what can be repaired without a decision by a person. The error says that there is more.
	Check(ctx context.Context, device string) error
	// Records returns what Record kept since the kernel started, by volume.
	Records() (map[string]bool, error)
	// Record keeps whether a volume was clean when this boot found it. The first call for a volume counts.
	Record(volume string, clean bool) error
}

// Mounts is the side of mounted file systems.
type Mounts interface {
	// Mounted returns the device numbers ("major:minor") of what is mounted on each target. Targets with nothing on them are absent.
	Mounted(targets []string) (map[string]string, error)
	Mount(device, target, fileSystem string, options []string) error
	// Resize grows the mounted file system to the size of its device.
	Resize(target, device string) error
	// Directory returns the permissions of a directory, or fs.ErrNotExist.
	Directory(path string) (fs.FileMode, error)
	// MakeDirectory makes the directory, or sets the permissions of one that exists.
	MakeDirectory(path string, mode fs.FileMode) error
}

// Partition is one partition as the kernel has it.
type Partition struct {
	Number int
	Name   string
	// Device is its path in /dev; Numbers are its device numbers, "major:minor".
	Device, Numbers string
	SizeBytes       uint64
	// GrowableBytes is by how much it could grow: 0 for all but the last.
	GrowableBytes uint64
}

// Contents is what is on a partition.
type Contents struct {
	// Signature names what was found by its magic numbers; empty if nothing was.
	Signature string
	// Blank says that its beginning holds zeros only.
	Blank bool
	// Formatting says that a Format of this partition was begun and not finished.
	Formatting bool
	// Clean and FileSystemBytes are read from the superblock of a FileSystem.
	Clean           bool
	FileSystemBytes uint64
}

// Observed is the storage as found.
type Observed struct {
	// Volumes has an entry for each volume of the specification, by name.
	Volumes map[string]VolumeState
}

// VolumeState is one volume as found.
type VolumeState struct {
	// Found is false while the kernel has no partition of the name; then the rest is empty.
	Found     bool
	Partition Partition
	Contents  Contents
	// Mounted says that this partition is mounted on the volume's target; Covered that something else is.
	Mounted, Covered bool
	// Recorded says that cleanliness was recorded in this boot, and RecordedClean what.
	Recorded, RecordedClean bool
	// Directories are the permissions of those that exist, once the volume is mounted.
	Directories map[string]fs.FileMode
}

// Reconciler is the storage domain. It implements the Domain of package reconcile.
type Reconciler struct {
	disk   Disk
	mounts Mounts
}

// New returns the domain on the given devices and mounts.
func New(disk Disk, mounts Mounts) *Reconciler { return &Reconciler{disk: disk, mounts: mounts} }

// Observe reads partitions, their contents, mounts and directories.
func (r *Reconciler) Observe(ctx context.Context, spec Spec) (Observed, error) {
	partitions, err := r.disk.Partitions(ctx, spec.Disk)
	if err != nil {
		return Observed{}, fmt.Errorf("list partitions of %s: %w", spec.Disk, err)
	}
	records, err := r.disk.Records()
	if err != nil {
		return Observed{}, fmt.Errorf("read records of this boot: %w", err)
	}
	var targets []string
	for _, v := range spec.Volumes {
		targets = append(targets, v.Target)
	}
	mounted, err := r.mounts.Mounted(targets)
	if err != nil {
		return Observed{}, fmt.Errorf("list mounts: %w", err)
	}
	obs := Observed{Volumes: map[string]VolumeState{}}
	for _, v := range spec.Volumes {
		state := VolumeState{}
		state.RecordedClean, state.Recorded = records[v.Name]
		for _, p := range partitions {
			if p.Name == v.Name {
				state.Found, state.Partition = true, p
			}
		}
		if on, some := mounted[v.Target]; some {
			state.Mounted = state.Found && on == state.Partition.Numbers
			state.Covered = !state.Mounted
		}
		if err := r.observeVolume(ctx, v, &state); err != nil {
			return Observed{}, err
		}
		obs.Volumes[v.Name] = state
	}
	return obs, nil
}

func (r *Reconciler) observeVolume(ctx context.Context, v Volume, state *VolumeState) error {
	if !state.Found {
		return nil
	}
	var err error
	if state.Contents, err = r.disk.Contents(ctx, state.Partition.Device); err != nil {
		return fmt.Errorf("read contents of partition %s (%s): %w", v.Name, state.Partition.Device, err)
	}
	if !state.Mounted {
		return nil
	}
	state.Directories = map[string]fs.FileMode{}
	for _, d := range v.Directories {
		mode, err := r.mounts.Directory(d.Path)
		if err == nil {
			state.Directories[d.Path] = mode
		}
	}
	return nil
}
