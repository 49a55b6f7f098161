package blockdev

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/signature"
	"github.com/cyvive/cyvive/internal/storage/zfs/label"
)

// LookForPool fills in what is on a disk, which Identity and Device name already, for the domain of pools: the devices that lead to it, who uses it, what it holds, the
// label of ZFS, and by how much a pool's partition could grow. Mountinfo is a path such as /proc/self/mountinfo. A disk that PreparePool has made, and nobody has written to
// since, is blank.
func (d *Disk) LookForPool(p *pool.Disk, mountinfo string) error {
	name := filepath.Base(p.Device)
	list, err := partitions(d.sysfs, p.Device)
	if err != nil {
		return err
	}
	p.Devices = []string{p.Device}
	parts := []string{""}
	for _, part := range list {
		p.Devices = append(p.Devices, part.Device)
		parts = append(parts, filepath.Base(part.Device))
	}
	for _, part := range parts { // what is made of them, such as encrypted volumes
		holders, err := os.ReadDir(filepath.Join(d.sysfs, "class/block", name, part, "holders"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("look for what is made of %s: %w", p.Device, err)
		}
		for _, h := range holders {
			p.Devices = append(p.Devices, "/dev/"+h.Name())
		}
	}
	if p.Use, err = d.InUse(name, mountinfo); err != nil {
		return err
	}
	return lookAt(p)
}

// lookAt reads the devices of a disk.
func lookAt(p *pool.Disk) error {
	w, err := OpenShared(p.Device, false)
	if err != nil {
		return fmt.Errorf("look at %s: %w", p.Device, err)
	}
	defer w.Close()
	w.forget()
	prepared, blank, growable, err := PreparedForPool(w, uint64(w.SectorBytes), uint64(w.SizeBytes))
	if err != nil {
		return fmt.Errorf("look at %s: %w", p.Device, err)
	}
	p.Contents, p.GrowableBytes, p.Label = "", growable, nil
	if prepared && blank {
		return nil
	}
	found, err := signature.Find(w, w.SizeBytes)
	if err != nil {
		return fmt.Errorf("look at %s: %w", p.Device, err)
	}
	p.Contents = signature.Names(found)
	// The innermost device is the one that ZFS was given.
	for _, device := range slices.Backward(p.Devices) {
		l, err := readLabel(device)
		switch {
		case err == nil:
			p.Label = pool.NewLabel(device, l)
			return nil
		case !errors.Is(err, label.ErrNone) && !errors.Is(err, label.ErrDamaged) && !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	return nil
}

// forget drops what the kernel keeps of an earlier look. ZFS writes past its page cache, which would go on with old labels for as long as the device is open
// anywhere, which it is while the pool is imported. It is a hint: what is being written by others stays.
func (w *Whole) forget() { _ = unix.Fadvise(int(w.Fd()), 0, 0, unix.FADV_DONTNEED) }

// readLabel reads the label of one device.
func readLabel(device string) (label.Label, error) {
	w, err := OpenShared(device, false)
	if err != nil {
		return label.Label{}, err
	}
	defer w.Close()
	w.forget()
	l, err := label.Read(w, w.SizeBytes)
	if err != nil {
		return l, fmt.Errorf("%s: %w", device, err)
	}
	return l, nil
}
