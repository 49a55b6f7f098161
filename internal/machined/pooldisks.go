package machined

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage/disk"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// DiskKernel is the kernel's side of disks that pools are made of. Devices are those of whole disks, such as /dev/vdb. Package blockdev has the parts of it.
type DiskKernel interface {
	// Look fills in what is on a disk, of which identity and device are known, and who uses it. It writes nothing.
	Look(d *pool.Disk) error
	// Prepare makes a disk ready for a leaf of a pool, and returns the device of that. What the disk held is lost. One that is in use fails.
	Prepare(ctx context.Context, device string) (leaf string, err error)
	// Grow makes what Prepare has made as large as the disk.
	Grow(ctx context.Context, device string) error
}

// PoolDisks are the disks of a machine for its pools. It keeps nothing: what is known of a disk is read each time.
type PoolDisks struct {
	Inventory server.Inventory
	// System is the kernel's name of the disk that the node runs from; empty if it runs from none.
	System string
	Kernel DiskKernel
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
	return out, nil
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

// Prepare implements pool.Devices. It looks at the disk once more: between what was decided, and may have been confirmed, and this, another disk may have come to its
// name, or somebody have written to it. A disk that is blank by now loses nothing.
func (p PoolDisks) Prepare(ctx context.Context, d pool.Disk) (string, error) {
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
	return p.Kernel.Prepare(ctx, now.Device)
}

// Grow implements pool.Devices. The disk may have another size than a moment ago, and has to be of the same leaf of a pool.
func (p PoolDisks) Grow(ctx context.Context, d pool.Disk) error {
	now, err := p.now(ctx, d)
	if err != nil {
		return err
	}
	if now.System || now.Label == nil || d.Label == nil || now.Label.GUID != d.Label.GUID {
		return fmt.Errorf("grow what is on %s: %w: it holds %s, and held %s", now, errChanged, contentsText(now), contentsText(d))
	}
	return p.Kernel.Grow(ctx, now.Device)
}

func blank(d pool.Disk) bool { return d.Contents == "" && d.Label == nil }

func sameContents(a, b pool.Disk) bool {
	if a.Contents != b.Contents || (a.Label == nil) != (b.Label == nil) {
		return false
	}
	return a.Label == nil || *a.Label == *b.Label
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
