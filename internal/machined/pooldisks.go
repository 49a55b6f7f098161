package machined

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage/disk"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/trust/volumes"
)

// DiskKernel is the kernel's side of disks that pools are made of. Devices are those of whole disks, such as /dev/vdb. Package blockdev has the parts of it.
type DiskKernel interface {
	// Look fills in what is on a disk, of which identity and device are known, and who uses it. It writes nothing.
	Look(d *pool.Disk) error
	// Hold keeps the name of a disk from being another's until it is released, and returns the kernel's number of the disk.
	Hold(device string) (sequence uint64, release func() error, err error)
	// Prepare makes the disk of a number ready for a leaf of a pool, and returns the device of that. What the disk held is lost. One that is in use fails, and so does another
	// that has the name.
	Prepare(ctx context.Context, device string, sequence uint64) (leaf string, err error)
	// Grow makes what Prepare has made as large as the disk.
	Grow(ctx context.Context, device string) error
}

// DiskVault is what makes and opens encrypted disks of pools. Names are those in their headers, and partitions paths. *volumes.Volumes implements it.
type DiskVault interface {
	// Encrypts says that keys of disks have a place on this node.
	Encrypts() bool
	// Disk returns what is known of the encrypted volume of a name on a partition.
	Disk(name, partition string) (volumes.DiskState, error)
	// MakeDisk makes one with a name of its own, opens it, and returns where its content appears. What the partition held is lost.
	MakeDisk(ctx context.Context, partition string) (device string, err error)
	// OpenDisk opens one by the key that the node has of it, CloseDisk closes it; volumes.ErrOpen is of one that is open, or in use.
	OpenDisk(ctx context.Context, name, partition string) error
	CloseDisk(ctx context.Context, name string) error
	// ExtendDisk makes one that is open as large as its partition has become.
	ExtendDisk(ctx context.Context, name string) error
	// Enrol has the node's recovery key open it.
	Enrol(ctx context.Context, name, partition string) error
	// Opens says that the key that the node has of a name opens what is on a partition; false, too, where that cannot be told.
	Opens(ctx context.Context, name, partition string) bool
	// ForgetDisk removes the keys that the node has of it.
	ForgetDisk(name string) error
}

// PoolDisks are the disks of a machine for its pools. It keeps nothing: what is known of a disk is read each time.
type PoolDisks struct {
	Inventory server.Inventory
	// System is the kernel's name of the disk that the node runs from; empty if it runs from none.
	System string
	Kernel DiskKernel
	// Vault is nil where no disk is encrypted.
	Vault DiskVault
}

var _ pool.Devices = PoolDisks{}

// errChanged is of a disk that is another by now, or holds something else, than what was decided by.
var errChanged = errors.New("it is not as it was")

// Disks implements pool.Devices. A disk that cannot be looked at is one with a Problem.
func (p PoolDisks) Disks(ctx context.Context) ([]pool.Disk, error) {
	all, err := p.Inventory.Inventory(ctx, false)
	if err != nil {
		return nil, fmt.Errorf("read the inventory: %w", err)
	}
	var out []pool.Disk
	for _, one := range all.GetDisks() {
		i := diskOf(one)
		d := pool.Disk{
			Identity: disk.Identity{
				Name: i.Name, Type: i.Type, Model: i.Model, Serial: i.Serial, WWN: i.WWN, Bus: i.Bus, Path: i.Path, SizeBytes: i.SizeBytes,
			},
			Device: "/dev/" + i.Name, Devices: []string{"/dev/" + i.Name}, System: p.System != "" && i.Name == p.System, ReadOnly: i.ReadOnly,
		}
		if d.SizeBytes == 0 {
			d.Problem = "it has no medium"
		} else if err := p.Kernel.Look(&d); err != nil {
			d.Problem = err.Error()
		}
		out = append(out, d)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	for n := range out {
		if err := p.open(ctx, &out[n], copied(out, n)); err != nil {
			out[n].Problem = err.Error()
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// copied says that another disk has the encrypted volume of one too. A disk that is seen by several paths is no other.
func copied(all []pool.Disk, n int) bool {
	name := containerName(all[n])
	return name != "" && slices.ContainsFunc(all, func(o pool.Disk) bool {
		return containerName(o) == name && !o.Container.Begun && o.Key() != all[n].Key()
	})
}

// open opens the container on a disk that the node has a key of: until then nobody can see what it holds. One that does not open says why. Of a disk and a copy of it neither
// is opened, but for the one that is open already: the copy may be old, and what was written since would be missed.
func (p PoolDisks) open(ctx context.Context, d *pool.Disk, copied bool) error {
	c := d.Container
	if d.Problem != "" || c == nil || c.Name == "" || p.Vault == nil {
		return nil
	}
	p.fill(c)
	if copied && !c.Open && !c.Begun && !c.Double {
		c.Stale, c.Double = false, true
		c.Problem = "another disk that is here has the same encrypted volume: one is a copy of the other. Take out the one that is not to be used"
	}
	if d.System || c.Begun || c.Open || c.Stale || c.Double || !c.Keyed || c.Problem != "" {
		return nil
	}
	if err := p.Vault.OpenDisk(ctx, c.Name, c.Partition); err != nil {
		c.Problem = err.Error()
		return nil
	}
	if err := p.Kernel.Look(d); err != nil {
		return err
	}
	if d.Container != nil && d.Container.Name != "" {
		p.fill(d.Container)
	}
	return nil
}

// fill completes what is known of a container.
func (p PoolDisks) fill(c *pool.Container) {
	s, err := p.Vault.Disk(c.Name, c.Partition)
	if err != nil {
		c.Problem = err.Error()
		return
	}
	c.Device, c.Open, c.Stale, c.Double, c.Keyed, c.Recoverable = s.Device, s.Open, s.Stale, s.Double, s.Keyed, s.Recoverable
	if c.Double {
		c.Problem = "another disk that is here has the same encrypted volume, and is open"
	}
}

// now finds a disk again that was seen before: the one of the same names, at the same device.
func (p PoolDisks) now(ctx context.Context, d pool.Disk) (pool.Disk, error) {
	all, err := p.Disks(ctx)
	if err != nil {
		return pool.Disk{}, err
	}
	var same []pool.Disk
	for _, o := range all {
		if o.Key() == d.Key() {
			same = append(same, o)
		}
	}
	switch {
	case len(same) == 0:
		return pool.Disk{}, fmt.Errorf("find %s: it %w any more", d, zfs.ErrNotExist)
	case len(same) > 1:
		return pool.Disk{}, fmt.Errorf("find %s: %w: %d disks have its names, %s and %s", d, errChanged, len(same), same[0].Device, same[1].Device)
	case same[0].Device != d.Device:
		return pool.Disk{}, fmt.Errorf("find %s: %w: it is %s now", d, errChanged, same[0].Device)
	}
	return same[0], nil
}

// hold keeps a disk's name from being another's, so that what is seen under it and then done is all of one disk. The number of one that is not there is 0.
func (p PoolDisks) hold(d pool.Disk) (sequence uint64, release func(), err error) {
	sequence, end, err := p.Kernel.Hold(d.Device)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, func() {}, nil // where it is now, who looks for it says
	case err != nil:
		return 0, nil, fmt.Errorf("open %s: %w", d, err)
	}
	return sequence, func() { _ = end() }, nil
}

// Prepare implements pool.Devices. It looks at the disk once more: between what was decided, and may have been confirmed, and this, another disk may have come to its
// name, or somebody have written to it. A disk that is blank by now loses nothing.
func (p PoolDisks) Prepare(ctx context.Context, d pool.Disk, encrypt bool) (string, error) {
	sequence, release, err := p.hold(d)
	if err != nil {
		return "", err
	}
	defer release()
	now, err := p.now(ctx, d)
	if err != nil {
		return "", err
	}
	var why []string
	note := func(bad bool, text string) {
		if bad {
			why = append(why, text)
		}
	}
	note(now.Identity != d.Identity, fmt.Sprintf("it was %s", d))
	note(now.System, "the node runs from it")
	note(now.Problem != "", now.Problem)
	note(now.ReadOnly, "it can only be read")
	note(now.Use != "", "it is in use: "+now.Use)
	note(!blank(now) && !sameContents(now, d), fmt.Sprintf("it holds %s, and held %s when it was chosen", contentsText(now), contentsText(d)))
	if len(why) > 0 {
		return "", fmt.Errorf("prepare %s: %w: %s", now, errChanged, strings.Join(why, "; "))
	}
	switch {
	case encrypt && !p.Encrypts():
		return "", fmt.Errorf("prepare %s: %w", now, volumes.ErrNoPlace)
	case encrypt && ready(now):
		return now.Container.Device, nil
	}
	partition, err := p.wipe(ctx, now, sequence)
	if err != nil || !encrypt {
		return partition, err
	}
	return p.Vault.MakeDisk(ctx, partition)
}

// Encrypts implements pool.Devices.
func (p PoolDisks) Encrypts() bool { return p.Vault != nil && p.Vault.Encrypts() }

// ready says that a disk has a container of the node's that is open, and to which nothing was written.
func ready(d pool.Disk) bool {
	c := d.Container
	return c != nil && c.Open && c.Keyed && !c.Begun && blank(d) && d.GrowableBytes == 0
}

// wipe makes a disk ready for a leaf that is not encrypted. What it held is lost, and with a container that was open go its keys; so they do with one that was begun and that they
// open. A container that somebody uses stays, and that is an error.
func (p PoolDisks) wipe(ctx context.Context, d pool.Disk, sequence uint64) (partition string, err error) {
	c := d.Container
	if p.Vault == nil || c == nil || c.Name == "" {
		return p.Kernel.Prepare(ctx, d.Device, sequence)
	}
	if c.Open {
		if err := p.Vault.CloseDisk(ctx, c.Name); err != nil {
			return "", err
		}
	}
	// A header says whose it is, and anybody can copy one: a key that has not opened it may be that of another disk, which is here or pulled.
	// So may that of one that is said to be begun: the mark is easily made, too.
	own := c.Open || c.Begun && !c.Stale && !c.Double && p.Vault.Opens(ctx, c.Name, c.Partition)
	if partition, err = p.Kernel.Prepare(ctx, d.Device, sequence); err != nil || !own {
		return partition, err
	}
	return partition, p.Vault.ForgetDisk(c.Name)
}

// contained finds a disk again that was seen before, and has the same container now.
func (p PoolDisks) contained(ctx context.Context, d pool.Disk) (pool.Disk, error) {
	now, err := p.now(ctx, d)
	if err != nil {
		return now, err
	}
	if p.Vault == nil || now.System || now.Container == nil || containerName(now) == "" || containerName(now) != containerName(d) {
		return now, fmt.Errorf("find the encrypted volume on %s: %w: it holds %s", now, errChanged, contentsText(now))
	}
	return now, nil
}

// Reopen implements pool.Devices.
func (p PoolDisks) Reopen(ctx context.Context, d pool.Disk) (string, error) {
	now, err := p.contained(ctx, d)
	if err != nil {
		return "", err
	}
	c := now.Container
	switch {
	case c.Open: // since it was seen
		return c.Device, nil
	case !c.Stale || !c.Keyed:
		return "", fmt.Errorf("open the encrypted volume on %s: %w: %s", now, errChanged, cmp.Or(c.Problem, "the node has no key of it"))
	}
	if err := p.Vault.CloseDisk(ctx, c.Name); errors.Is(err, volumes.ErrOpen) {
		return "", fmt.Errorf("open the encrypted volume on %s anew: the one before %w: %w", now, zfs.ErrBusy, err)
	} else if err != nil {
		return "", err
	}
	return c.Device, p.Vault.OpenDisk(ctx, c.Name, c.Partition)
}

// Enrol implements pool.Devices.
func (p PoolDisks) Enrol(ctx context.Context, d pool.Disk) error {
	now, err := p.contained(ctx, d)
	if err != nil {
		return err
	}
	return p.Vault.Enrol(ctx, now.Container.Name, now.Container.Partition)
}

// Erase implements pool.Devices.
func (p PoolDisks) Erase(ctx context.Context, d pool.Disk) error {
	sequence, release, err := p.hold(d)
	if err != nil {
		return err
	}
	defer release()
	now, err := p.contained(ctx, d)
	if err != nil {
		return err
	}
	if now.Use != "" || now.Label != nil && (d.Label == nil || now.Label.GUID != d.Label.GUID) {
		return fmt.Errorf("erase %s: %w: it holds %s, and held %s %s", now, errChanged, contentsText(now), contentsText(d), now.Use)
	}
	_, err = p.wipe(ctx, now, sequence)
	return err
}

// Grow implements pool.Devices. The disk may have another size than a moment ago, and has to be of the same leaf of a pool.
func (p PoolDisks) Grow(ctx context.Context, d pool.Disk) error {
	_, release, err := p.hold(d)
	if err != nil {
		return err
	}
	defer release()
	now, err := p.now(ctx, d)
	if err != nil {
		return err
	}
	if now.System || now.Label == nil || d.Label == nil || now.Label.GUID != d.Label.GUID {
		return fmt.Errorf("grow what is on %s: %w: it holds %s, and held %s", now, errChanged, contentsText(now), contentsText(d))
	}
	if err := p.Kernel.Grow(ctx, now.Device); err != nil {
		return err
	}
	if c := now.Container; c != nil && c.Open && p.Vault != nil {
		return p.Vault.ExtendDisk(ctx, c.Name)
	}
	return nil
}

// containerName is empty where there is none.
func containerName(d pool.Disk) string {
	if d.Container == nil {
		return ""
	}
	return d.Container.Name
}

func blank(d pool.Disk) bool { return d.Contents == "" && d.Label == nil }

func sameContents(a, b pool.Disk) bool {
	return a.Contents == b.Contents && containerName(a) == containerName(b) && reflect.DeepEqual(a.Label, b.Label)
}

// contentsText is what a disk holds, for a person.
func contentsText(d pool.Disk) string {
	switch {
	case d.Label != nil:
		return fmt.Sprintf("a device of pool %q (%s), %s", d.Label.Pool, d.Label.PoolGUID, d.Label.State)
	case d.Contents != "":
		return d.Contents
	}
	return "nothing"
}
