package storage

import (
	"context"
	"errors"
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
	// BeginPool puts such a mark on a device on which a pool is going to be made.
	BeginPool(ctx context.Context, device string) error
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
	// Mounted returns what is mounted on each target. Targets with nothing on them are absent.
	Mounted(targets []string) (map[string]MountState, error)
	// Mount mounts a device, or a dataset, on a directory.
	Mount(source, target, fileSystem string, options []string) error
	// Directory returns the permissions of a directory, or fs.ErrNotExist.
	Directory(path string) (fs.FileMode, error)
	// MakeDirectory makes the directory, or sets the permissions of one that exists.
	MakeDirectory(path string, mode fs.FileMode) error
	// MakeMountPoint makes the directory, if it is not there, and has the kernel let nobody write in it: what is written while nothing is mounted
	// would be hidden later. Nothing is mounted on it now.
	MakeMountPoint(path string) error
}

// Crypt is the side of encrypted volumes. Methods that change something may be repeated after an interruption at any point.
type Crypt interface {
	// Volume returns what is known of a volume in this boot.
	Volume(ctx context.Context, volume, device string) (CryptState, error)
	// Encrypt makes an encrypted volume that opens as the encryption says, or by a key on the state volume, with a beginning that is blank once it is open.
	// It does not check what was there. It fails on a machine that could not open the volume now.
	Encrypt(ctx context.Context, volume, device string, how Encryption) error
	// Unlock opens a volume, in the way in which it was made. Where it finds that it cannot in this boot, it keeps the reason as CryptState.Refused and
	// returns no error; what it waits for, with an error, is CryptState.Waits.
	Unlock(ctx context.Context, volume, device string, how Encryption) error
	// Extend makes an open volume as large as its device.
	Extend(ctx context.Context, volume string) error
	// Enrol gives an encrypted volume the node's recovery key, which it makes if there is none. The state volume is mounted.
	Enrol(ctx context.Context, volume, device string) error
	// Capped returns whether Cap was called in this boot; Cap has the TPM give out nothing more until the next.
	Capped() (bool, error)
	Cap(ctx context.Context) error
}

// CryptState is an encrypted volume as found.
type CryptState struct {
	// Mapped is the open volume, as a partition that holds a file system. Its Device is empty while the volume is not open.
	Mapped Partition
	// By is what opens the state volume; Plain for one of which that is not known, and for the others.
	By Mode
	// Server is the key server by which the state volume opens, as that has it; zero where it is none, or cannot be told.
	Server KeyServer
	// Refused says why the node does not open it in this boot; empty as long as that was not tried, or can be. A person may.
	Refused string
	// Waits says what the last attempt to open it lacked that may yet come: an answer of a key server, a passphrase. Empty if nothing was.
	Waits string
	// Enrolled says that it has a recovery key.
	Enrolled bool
	// Unnoted says of the state volume that a recovery key on it waits to be noted, by a person who has the one before.
	Unnoted bool
	// HeaderBytes is by how much it is smaller than its partition.
	HeaderBytes uint64
}

// Encrypted is the Signature of a volume that Crypt has made.
const Encrypted = "luks2"

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
	// Formatting says that a Format, or an Encrypt, of this partition was begun and not finished.
	Formatting bool
	// Clean is read from the superblock of a FileSystem.
	Clean bool
	// Pool is set for a PoolMember.
	Pool PoolLabel
}

// Observed is the storage as found.
type Observed struct {
	// Volumes has an entry for each volume of the specification, by name.
	Volumes map[string]VolumeState
	// Capped says that the TPM gives out nothing more in this boot.
	Capped bool
	// EnrolLast says that to give state its recovery key failed, and that since then nothing else has.
	EnrolLast bool
}

// VolumeState is one volume as found.
type VolumeState struct {
	// Found is false while the kernel has no partition of the name; then the rest is empty.
	Found     bool
	Partition Partition
	// Problem says why it cannot be looked at; then nothing more is known of it. Of the state volume, and of one that is mounted, that is an error of Observe.
	Problem  string
	Contents Contents
	// Crypt is set for a volume that is encrypted, and Inner is what it holds, once it is open.
	Crypt CryptState
	Inner Contents
	// Pool is that of a volume which is to be one, and Datasets says which of its are mounted on their targets.
	Pool     PoolState
	Datasets map[string]bool
	// Mounted says that this partition, or what is in it, is mounted on the volume's target, and each dataset on its; Covered that something else is.
	Mounted, Covered bool
	// Recorded says that cleanliness was recorded in this boot, and RecordedClean what.
	Recorded, RecordedClean bool
	// Directories are the permissions of those that exist, once the volume is mounted.
	Directories map[string]fs.FileMode
}

// encrypted says that the partition holds a whole encrypted volume.
func (s VolumeState) encrypted() bool {
	return s.Contents.Signature == Encrypted && !s.Contents.Formatting
}

// open says that an encrypted volume is open.
func (s VolumeState) open() bool { return s.Crypt.Mapped.Device != "" }

// holder returns what the volume's file system is made on, and what is there.
func (s VolumeState) holder() (Partition, Contents) {
	if s.encrypted() {
		return s.Crypt.Mapped, s.Inner
	}
	return s.Partition, s.Contents
}

// Reconciler is the storage domain. It implements the Domain of package reconcile.
type Reconciler struct {
	disk   Disk
	mounts Mounts
	pools  Pools
	crypt  Crypt
	// enrolLast is Observed.EnrolLast. It belongs to the goroutine of the loop.
	enrolLast bool
}

// New returns the domain on the given devices, mounts and pools. With a nil Crypt it opens no encrypted volume, and makes none.
func New(disk Disk, mounts Mounts, pools Pools, crypt Crypt) *Reconciler {
	return &Reconciler{disk: disk, mounts: mounts, pools: pools, crypt: crypt}
}

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
		targets = append(targets, v.targets()...)
	}
	mounted, err := r.mounts.Mounted(targets)
	if err != nil {
		return Observed{}, fmt.Errorf("list mounts: %w", err)
	}
	obs := Observed{Volumes: map[string]VolumeState{}, EnrolLast: r.enrolLast}
	if r.crypt != nil {
		if obs.Capped, err = r.crypt.Capped(); err != nil {
			return Observed{}, fmt.Errorf("read records of this boot: %w", err)
		}
	}
	for _, v := range spec.Volumes {
		state := VolumeState{}
		state.RecordedClean, state.Recorded = records[v.Name]
		for _, p := range partitions {
			if p.Name == v.Name {
				state.Found, state.Partition = true, p
			}
		}
		if err := r.observeVolume(ctx, v, &state, mounted); err != nil {
			if _, some := mounted[v.Target]; v.Name == State || some || ctx.Err() != nil || errors.Is(err, fs.ErrNotExist) {
				return Observed{}, err // of a device that is not there yet, too: it is about to come
			}
			// It does not keep the node from its state volume, over which it can be mended.
			state = VolumeState{
				Found: true, Partition: state.Partition, Problem: err.Error(), Recorded: state.Recorded, RecordedClean: state.RecordedClean,
			}
		}
		obs.Volumes[v.Name] = state
	}
	return obs, nil
}

// observeVolume looks at one volume; mounted is what lies on the targets of all.
func (r *Reconciler) observeVolume(ctx context.Context, v Volume, state *VolumeState, mounted map[string]MountState) error {
	on, some := mounted[v.Target]
	state.Covered = some
	if !state.Found {
		return nil
	}
	var err error
	if state.Contents, err = r.disk.Contents(ctx, state.Partition.Device); err != nil {
		return fmt.Errorf("read contents of partition %s (%s): %w", v.Name, state.Partition.Device, err)
	}
	if state.encrypted() && r.crypt != nil {
		if err := r.observeEncrypted(ctx, v, state); err != nil {
			return err
		}
	}
	if v.Pool != nil {
		if err := r.observePool(ctx, v, state, mounted); err != nil {
			return err
		}
	} else {
		holder, _ := state.holder()
		state.Mounted = some && on.Numbers == holder.Numbers
		state.Covered = some && !state.Mounted
	}
	if !state.Mounted {
		return nil
	}
	state.Directories = map[string]fs.FileMode{}
	for _, d := range v.directories() {
		mode, err := r.mounts.Directory(d.Path)
		if err == nil {
			state.Directories[d.Path] = mode
		}
	}
	return nil
}

func (r *Reconciler) observeEncrypted(ctx context.Context, v Volume, state *VolumeState) error {
	var err error
	if state.Crypt, err = r.crypt.Volume(ctx, v.Name, state.Partition.Device); err != nil {
		return fmt.Errorf("look at encrypted volume %s (%s): %w", v.Name, state.Partition.Device, err)
	}
	if !state.open() {
		return nil
	}
	if state.Inner, err = r.disk.Contents(ctx, state.Crypt.Mapped.Device); err != nil {
		return fmt.Errorf("read contents of encrypted volume %s (%s): %w", v.Name, state.Crypt.Mapped.Device, err)
	}
	return nil
}
