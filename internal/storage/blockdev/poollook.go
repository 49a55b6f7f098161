package blockdev

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/storage/luks"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/signature"
	"github.com/cyvive/cyvive/internal/storage/zfs/label"
)

// LookForPool fills in what is on a disk, which Identity and Device name already, for the domain of pools: the devices that lead to it, who uses it, what it holds, the
// label of ZFS, and by how much a pool's partition could grow. Mountinfo is a path such as /proc/self/mountinfo. A disk that PreparePool has made, and nobody has written to
// since, is blank. So is one with an encrypted volume of the node's that is being made, or that is open and was not written to. Of such a volume, what is told is its name,
// its partition, and whether it is open; it is nobody's use.
func (d *Disk) LookForPool(p *pool.Disk, mountinfo string) error {
	name := filepath.Base(p.Device)
	list, err := partitions(d.sysfs, p.Device)
	if err != nil {
		return err
	}
	p.Devices, p.Container = []string{p.Device}, nil
	parts := []string{""}
	for _, part := range list {
		p.Devices = append(p.Devices, part.Device)
		parts = append(parts, filepath.Base(part.Device))
	}
	if len(list) == 1 { // as PreparePool makes it
		if p.Container, err = containerOn(list[0].Device); err != nil {
			return fmt.Errorf("look at %s: %w", p.Device, err)
		}
	}
	var own string
	for _, part := range parts { // what is made of them, such as encrypted volumes
		holders, err := os.ReadDir(filepath.Join(d.sysfs, "class/block", name, part, "holders"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("look for what is made of %s: %w", p.Device, err)
		}
		for _, h := range holders {
			device := d.stable(h.Name())
			p.Devices = append(p.Devices, device)
			if c := p.Container; c != nil && part != "" && device == luks.MapperDir+luks.MapperPrefix+c.Name {
				c.Open, c.Device, own = true, device, h.Name()
			}
		}
	}
	if p.Use, err = d.usedBy(name, mountinfo, own); err != nil {
		return err
	}
	return lookAt(p)
}

// stable is the path of a device by a name that stays: of an open volume of the node's that is the one which it was opened under, where the kernel's goes by the order.
func (d *Disk) stable(name string) string {
	if opened, err := os.ReadFile(filepath.Join(d.sysfs, "class/block", name, "dm/name")); err == nil && bytes.HasPrefix(opened, []byte(luks.MapperPrefix)) {
		return luks.MapperDir + strings.TrimSpace(string(opened))
	}
	return "/dev/" + name
}

// containerOn is the encrypted volume for a device of a pool on a partition, or what there is of one that is being made; nil if there is neither.
func containerOn(partition string) (*pool.Container, error) {
	w, err := OpenShared(partition, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer w.Close()
	w.forget()
	begun, err := atEnd.has(w.File)
	if err != nil {
		return nil, err
	}
	h, err := luks.ReadHeader(w)
	var path *fs.PathError
	switch {
	case errors.As(err, &path):
		return nil, err
	case err == nil && luks.IsDiskName(h.Label):
		return &pool.Container{Name: h.Label, Partition: partition, Begun: begun}, nil
	case begun:
		return &pool.Container{Partition: partition, Begun: true}, nil
	}
	return nil, nil
}

// blankHead says that a device begins as a new encrypted volume does: with zeros.
func blankHead(device string) (bool, error) {
	w, err := OpenShared(device, false)
	if err != nil {
		return false, err
	}
	defer w.Close()
	w.forget()
	head := make([]byte, blankBytes)
	n, err := w.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("read %s: %w", device, err)
	}
	return len(bytes.Trim(head[:n], "\x00")) == 0, nil
}

// What is on a disk with an encrypted volume, for a person.
const (
	shutContainer  = "an encrypted disk of a pool, which is not open"
	emptyContainer = "an encrypted disk, without a device of a pool"
)

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
	if prepared && (blank || p.Container != nil && p.Container.Begun) {
		return nil
	}
	found, err := signature.Find(w, w.SizeBytes)
	if err != nil {
		return fmt.Errorf("look at %s: %w", p.Device, err)
	}
	p.Contents = signature.Names(found)
	// The innermost device is the one that ZFS was given. Beside an encrypted volume the node writes no label: who has had the disk can, so it is not the pool's.
	for _, device := range slices.Backward(p.Devices) {
		if c := p.Container; c != nil && (!c.Open || device != c.Device) {
			continue
		}
		l, err := readLabel(device)
		switch {
		case err == nil:
			p.Label = pool.NewLabel(device, l)
			return nil
		case !errors.Is(err, label.ErrNone) && !errors.Is(err, label.ErrDamaged) && !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	return lookWithin(p)
}

// lookWithin says of a disk without a label what its encrypted volume holds, if it has one.
func lookWithin(p *pool.Disk) error {
	switch {
	case p.Container == nil:
		return nil
	case !p.Container.Open:
		p.Contents = shutContainer
		return nil
	}
	blank, err := blankHead(p.Container.Device)
	if err != nil {
		return fmt.Errorf("look at what is on %s: %w", p.Device, err)
	}
	if p.Contents = emptyContainer; blank {
		p.Contents = ""
	}
	return nil
}

// forget drops what the kernel keeps of an earlier look. ZFS writes past its page cache, which would go on with old labels for as long as the device is open
// anywhere, which it is while the pool is imported. It is a hint: what is being written by others stays.
func (w *Whole) forget() { forget(w.File) }

func forget(f *os.File) { _ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }

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
