package csi

import "context"

// Mounts is what the driver asks of the node's kernel. Targets are paths relative to kubelet's directory, slash-separated, clean, and never that
// directory itself; their components are not followed where they are symbolic links. A volume is named by its dataset; where its device is needed,
// methods wait until it is there. All methods may be called concurrently, but not for one target or volume. They end with their context; that of Format and Repair is not
// the call's.
type Mounts interface {
	// Mounted returns what is mounted below kubelet's directory, in the order of mounting.
	Mounted(ctx context.Context) ([]Mount, error)
	// Mount mounts a volume on a directory that exists.
	Mount(ctx context.Context, m Mount) error
	// Bind makes what is mounted on the directory from visible on another, which it makes. Its parent exists.
	Bind(ctx context.Context, from, target string, readOnly bool) error
	// BindDevice makes the device of a volume visible on a file, which it makes. Its parent exists. From then on the kernel holds the device, and pods may open it,
	// until [Mounts.ReleaseDevice] for that target, or the machine's end; after an error that is undone, as far as it can be.
	BindDevice(ctx context.Context, volume, target string) error
	// ReleaseDevice ends that, on a target on which nothing is bound any more. What of the device is still to be written is written then; after a context that ends
	// before, the kernel goes on with it, and the device is busy as long. That there is nothing to end is no error.
	ReleaseDevice(ctx context.Context, target string) error
	// RestoreDevices has what is bound be held, and what is held and not bound, as an agent that was killed may have left it, be released. It is called before all others.
	RestoreDevices(ctx context.Context) error
	// Unmount unmounts everything that is mounted on a target. Nothing there, or no such file, is no error.
	Unmount(ctx context.Context, target string) error
	// Remove removes a file or empty directory that is no mount. That there is none is no error.
	Remove(ctx context.Context, target string) error
	// Usage returns what the file system mounted on a target has.
	Usage(ctx context.Context, target string) (Usage, error)

	// Holds says what is on the device of a volume: ext4 or xfs, nothing at all, or else a few words for a person.
	Holds(ctx context.Context, volume string) (what string, err error)
	// Format makes a file system on the device of a volume, whatever is on it.
	Format(ctx context.Context, volume, fileSystem string) error
	// Repair replays and mends what can be without losing anything. The volume is not mounted.
	Repair(ctx context.Context, volume, fileSystem string) error
	// Grow makes the file system that is mounted on a target as large as its device. One that is already is left alone.
	Grow(ctx context.Context, fileSystem, target string) error
	// SizeBytes is the size of the device of a volume.
	SizeBytes(ctx context.Context, volume string) (int64, error)
}

// Mount is one mount.
type Mount struct {
	// Volume is the dataset that is mounted, or whose device is. It is empty for what is none of ZFS.
	Volume string
	// Target is relative to kubelet's directory.
	Target string
	// FileSystem is zfs, ext4 or xfs, and empty for a device that is bound on a file.
	FileSystem string
	ReadOnly   bool
	// Options are some of noatime, nodiratime, relatime, nosuid, nodev and noexec; only for mounting.
	Options []string
}

// Usage is how full a file system is.
type Usage struct {
	TotalBytes, UsedBytes, AvailableBytes    int64
	TotalInodes, UsedInodes, AvailableInodes int64
}
