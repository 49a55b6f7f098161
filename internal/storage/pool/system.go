package pool

import (
	"context"
	"errors"
	"fmt"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Errors of pools, beside those of package zfs.
var (
	// ErrUnconfirmed is a destructive operation that nobody has confirmed.
	ErrUnconfirmed = errors.New("needs a confirmation")
	// ErrInUseElsewhere: another system has the pool imported, or had it last.
	ErrInUseElsewhere = errors.New("is in use by another system")
	// ErrUsedElsewhere is ErrInUseElsewhere where an import that is forced is not refused: another system had it last.
	ErrUsedElsewhere = fmt.Errorf("%w, or was last", ErrInUseElsewhere)
	// ErrNewer: the pool has features that the module does not know.
	ErrNewer = errors.New("is newer than this system's ZFS")
	// ErrTooSmall: a device is smaller than those that it is to stand in for.
	ErrTooSmall = errors.New("device is too small")
	// ErrStaysOut: a device was brought online, and ZFS does not open it, or has it for faulty.
	ErrStaysOut = errors.New("stays out of use, though it was brought online")
)

// Pools is what is asked of the programs of OpenZFS. Package zpool implements it, and pooltest fakes it. All methods may be called concurrently. Names of vdevs are as
// zpool takes them: mirror-0, a path, or a GUID. Errors name the command and what it said, and are one of a class where that is known.
type Pools interface {
	// Pools are those that are imported, by name.
	Pools(ctx context.Context) ([]Pool, error)
	// Importable are those that are found on devices and not imported, the destroyed ones too.
	Importable(ctx context.Context, devices []string) ([]Importable, error)
	// RewindDryRun says what an import by a rewind would come to. It changes nothing.
	RewindDryRun(ctx context.Context, guid zfs.GUID, devices []string) (Rewind, error)
	Create(ctx context.Context, c Creation) error
	Import(ctx context.Context, i Import) error
	Export(ctx context.Context, pool string) error
	// Destroy destroys a pool. Its name is checked against nothing.
	Destroy(ctx context.Context, pool string) error
	Set(ctx context.Context, pool, property, value string) error
	// Add adds vdevs, which is for good where the pool has RAIDZ.
	Add(ctx context.Context, pool string, groups []Group) error
	// Attach makes a mirror of a disk, or a mirror or RAIDZ one disk wider.
	Attach(ctx context.Context, pool, vdev, device string) error
	Detach(ctx context.Context, pool, vdev string) error
	// Replace has a device, or a spare, take the place of another.
	Replace(ctx context.Context, pool, vdev, device string) error
	// Remove removes a top-level vdev, whose data goes to the others first, or a spare, log or cache device.
	Remove(ctx context.Context, pool, vdev string) error
	// Offline takes a device out. With fault it is marked as faulty, so that ZFS does not come back to it by itself.
	Offline(ctx context.Context, pool, vdev string, fault bool) error
	// OfflineForNow takes a device out until it is brought back, or the pool is imported the next time.
	OfflineForNow(ctx context.Context, pool, vdev string) error
	// Online brings a device back. With expand it is used to its whole size. One that is out of use behind that is ErrStaysOut.
	Online(ctx context.Context, pool, vdev string, expand bool) error
	// SetPath says where a device of a pool is now. Nothing is opened by it.
	SetPath(ctx context.Context, pool, vdev, device string) error
	// Clear forgets the errors of a pool or, if vdev is not empty, of one of its devices, and has it tried again.
	Clear(ctx context.Context, pool, vdev string) error
	// Scrub and Trim start, or go on with what was paused.
	Scrub(ctx context.Context, pool string) error
	Trim(ctx context.Context, pool string) error
}

// Creation is a pool that is to be made.
type Creation struct {
	Pool   string
	Groups []Group
	// Properties are the pool's, FileSystem those of its root dataset.
	Properties, FileSystem map[string]string
}

// Group is a vdev as zpool is asked for it.
type Group struct {
	Class   Class
	Layout  Layout
	Devices []string
}

// Import is a pool that is to be imported. Nothing of it is mounted.
type Import struct {
	GUID zfs.GUID
	// Name is what it is to be called, empty for its own.
	Name string
	// Devices are where to look for it.
	Devices  []string
	ReadOnly bool
	// Force imports what another system used last. Rewind gives up the latest changes to come to a state that can be read, and WithoutLog what is in logs that
	// cannot be opened.
	Force, Rewind, WithoutLog bool
}

// Devices is the side of disks.
type Devices interface {
	// Disks are those of the machine, with containers opened that the node has a key of. One that Prepare has made ready, and that nothing was written to since,
	// counts as blank.
	Disks(ctx context.Context) ([]Disk, error)
	// Encrypts says whether Prepare can encrypt a disk: a key needs a place that is encrypted itself.
	Encrypts() bool
	// Prepare makes a disk ready for a leaf, encrypted or not, and returns the device that ZFS is given. What was on the disk is lost. It fails on a disk that is
	// not as d says any more, and may be repeated.
	Prepare(ctx context.Context, d Disk, encrypt bool) (device string, err error)
	// Grow makes what Prepare has made as large as the disk.
	Grow(ctx context.Context, d Disk) error
	// Reopen opens the container of a disk that is here again, in place of the one that is open and whose disk is gone, and returns its device. While somebody
	// uses that, it is [zfs.ErrBusy].
	Reopen(ctx context.Context, d Disk) (device string, err error)
	// Enrol has the node's recovery key open the container of a disk.
	Enrol(ctx context.Context, d Disk) error
	// Erase wipes a disk whose container nobody uses, and the keys of that. Nothing that was on it can be had again.
	Erase(ctx context.Context, d Disk) error
}

// Memory keeps, beyond a restart, which pools were there. Without it, a pool whose disks are late would be created anew.
type Memory interface {
	Remembered(ctx context.Context) (map[string]zfs.GUID, error)
	// Remember keeps the GUID of a pool; 0 forgets it.
	Remember(ctx context.Context, pool string, guid zfs.GUID) error
}
