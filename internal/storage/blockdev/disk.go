package blockdev

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/siderolabs/go-blockdevice/v2/blkid"
	"github.com/siderolabs/go-blockdevice/v2/block"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/luks"
	"github.com/cyvive/cyvive/internal/storage/zfs/label"
)

const (
	// blankBytes is how much of a partition must be zero for it to count as blank. File systems and volume managers put their structures
	// there, so that one with a damaged superblock is not taken for blank.
	blankBytes = 1 << 20
	markBytes  = 512
	// poolMarkAt is where the mark of a pool lies. Of the first 8 KiB of a device, vl_pad1 of vdev_label_t (include/sys/vdev_impl.h, OpenZFS 2.3.9), the kernel writes
	// nothing; but zpool create clears the first 4 KiB of a partition (zero_label in cmd/zpool/zpool_vdev.c), before there is a label.
	poolMarkAt = 4 << 10
)

// formatMark is written to a partition while something is made on it, at a place where what is made does not write: at its end, where neither mke2fs, told
// not to discard, nor the header of an encrypted volume comes to; or, for a pool of ZFS, which has labels there, near its beginning (poolMarkAt).
func formatMark() []byte {
	mark := make([]byte, markBytes)
	copy(mark, "cyvive: a file system is being made here\n")
	return mark
}

// Disk implements storage.Disk on the block devices of the machine. Its methods may be called concurrently, but not two that change the
// same device.
type Disk struct {
	tools Tools
	// sysfs is the root of sysfs; records the directory of the files of Record.
	sysfs, records string
}

// New returns a Disk that runs the given tools and keeps its records of this boot in a directory, which must be on a tmpfs.
func New(tools Tools, records string) *Disk {
	return &Disk{tools: tools, sysfs: "/sys", records: records}
}

// Partitions reads the kernel's partitions of the disk and, from the partition table, by how much the last can grow.
func (d *Disk) Partitions(_ context.Context, disk string) ([]storage.Partition, error) {
	list, err := partitions(d.sysfs, disk)
	if err != nil {
		return nil, err
	}
	t, dev, err := openTable(disk)
	if err != nil {
		return nil, err
	}
	defer dev.Close()
	for i := range list {
		list[i].GrowableBytes = t.growable(list[i].Number)
		if e := t.entry(list[i].Number); e != nil && list[i].GrowableBytes == 0 {
			// Grown in the table, but the kernel was not told: the power failed, or the call did.
			first, last := bounds(e)
			if size := (last - first + 1) * t.sectorBytes; size > list[i].SizeBytes {
				list[i].GrowableBytes = size - list[i].SizeBytes
			}
		}
	}
	return list, nil
}

func openTable(disk string, options ...block.Option) (*table, *block.Device, error) {
	dev, err := block.NewFromPath(disk, options...)
	if err != nil {
		return nil, nil, fmt.Errorf("open %s: %w", disk, err)
	}
	size, err := dev.GetSize()
	if err != nil {
		dev.Close()
		return nil, nil, fmt.Errorf("read size of %s: %w", disk, err)
	}
	t, err := readTable(dev.File(), uint64(dev.GetSectorSize()), size)
	if err != nil {
		dev.Close()
		return nil, nil, fmt.Errorf("%s: %w", disk, err)
	}
	return t, dev, nil
}

// Grow moves the end of the partition to the end of the disk, in both tables and in the kernel.
func (d *Disk) Grow(_ context.Context, disk string, number int) error {
	t, dev, err := openTable(disk, block.OpenForWrite())
	if err != nil {
		return err
	}
	defer dev.Close()
	start, size, err := t.grow(number)
	if err != nil {
		return err
	}
	if err := t.write(dev.File(), dev.File().Sync); err != nil {
		return err
	}
	if err := dev.KernelPartitionResize(number, start, size); err != nil {
		return fmt.Errorf("resize partition %d of %s in the kernel: %w", number, disk, err)
	}
	return nil
}

// Contents probes a partition (or an image file).
func (d *Disk) Contents(_ context.Context, device string) (storage.Contents, error) {
	f, err := os.Open(device)
	if err != nil {
		return storage.Contents{}, err
	}
	defer f.Close()
	forget(f)
	head := make([]byte, blankBytes)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return storage.Contents{}, fmt.Errorf("read %s: %w", device, err)
	}
	head = head[:n]
	c := storage.Contents{Blank: len(bytes.Trim(head, "\x00")) == 0}
	if c.Formatting, err = hasMark(f); err != nil {
		return c, err
	}
	if len(head) >= superblockOffset+superblockBytes {
		sb, err := parseSuperblock(head[superblockOffset:])
		switch {
		case err == nil:
			c.Signature, c.Clean = storage.FileSystem, sb.clean
			return c, nil
		case !errors.Is(err, errNoSuperblock):
			// A power cut may have come between its sectors while it was made: that is to be made again.
			if !c.Formatting {
				c.Signature = "a damaged ext4 file system"
			}
			return c, nil
		}
	}
	// After ext4: what was made over an encrypted volume may have left the second copy of its header.
	if !c.Blank {
		switch signature, err := luksSignature(f); {
		case err != nil:
			return c, err
		case signature == damagedVolume && c.Formatting:
			return c, nil
		case signature != "":
			c.Signature = signature
			return c, nil
		}
	}
	// After both, which may have left labels at the end; and where the beginning is blank, too: a pool is found by any of its labels.
	if c.Signature, c.Pool, err = poolSignature(f, c.Formatting); c.Signature != "" || err != nil || c.Blank {
		return c, err
	}
	info, err := blkid.Probe(f, blkid.WithSkipLocking(true))
	if err != nil {
		return c, fmt.Errorf("probe %s: %w", device, err)
	}
	c.Signature = info.Name
	return c, nil
}

// damagedVolume is the signature of an encrypted volume that cannot be used.
const damagedVolume = "a damaged encrypted volume"

// luksSignature names what of LUKS is there; empty if nothing is.
func luksSignature(f *os.File) (string, error) {
	_, err := luks.ReadHeader(f)
	var path *fs.PathError
	switch {
	case err == nil:
		return storage.Encrypted, nil
	case errors.Is(err, luks.ErrNone):
		return "", nil
	case errors.As(err, &path):
		return "", fmt.Errorf("probe %s: %w", f.Name(), err)
	case errors.Is(err, luks.ErrDamaged):
		return damagedVolume, nil
	}
	return "an encrypted volume of another form", nil
}

// poolSignature names what of ZFS is there; empty if nothing is. Begun says that something is being made there: labels of which none is whole yet are then those of
// a pool that is made again, and not damaged.
func poolSignature(f *os.File, begun bool) (string, storage.PoolLabel, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return "", storage.PoolLabel{}, fmt.Errorf("find end of %s: %w", f.Name(), err)
	}
	l, err := label.Read(f, size)
	switch {
	case errors.Is(err, label.ErrNone):
		return "", storage.PoolLabel{}, nil
	case errors.Is(err, label.ErrDamaged) && begun:
		return storage.PoolMember, storage.PoolLabel{}, nil
	case errors.Is(err, label.ErrDamaged):
		return "a device of a damaged pool of ZFS", storage.PoolLabel{}, nil
	case err != nil:
		return "", storage.PoolLabel{}, fmt.Errorf("probe %s: %w", f.Name(), err)
	case l.State == label.Spare || l.State == label.Cache:
		return "a " + l.State.String() + " device of ZFS", storage.PoolLabel{}, nil
	}
	return storage.PoolMember, storage.PoolLabel{
		Name: l.Name, GUID: l.PoolGUID, Exported: l.State == label.Exported, Destroyed: l.State == label.Destroyed,
	}, nil
}

// Format makes a file system. While it does, a mark at the end of the device tells a later attempt that what lies there is its own.
func (d *Disk) Format(ctx context.Context, device, label string) error {
	if err := setMark(device, atEnd, formatMark()); err != nil {
		return err
	}
	if err := d.tools.makeFileSystem(ctx, device, label); err != nil {
		return err
	}
	return d.FinishFormat(ctx, device)
}

// BeginFormat puts the mark on a device on which something is made by others than Format: an encrypted volume.
func (d *Disk) BeginFormat(_ context.Context, device string) error {
	return setMark(device, atEnd, formatMark())
}

// BeginPool puts the mark on a device on which a pool of ZFS is made.
func (d *Disk) BeginPool(_ context.Context, device string) error {
	return setMark(device, forPool, formatMark())
}

// FinishFormat removes the mark, wherever it is.
func (d *Disk) FinishFormat(_ context.Context, device string) error {
	f, err := os.Open(device)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, p := range []place{forPool, atEnd} {
		marked, err := p.has(f)
		if err != nil {
			return err
		}
		if !marked {
			continue
		}
		if err := setMark(device, p, make([]byte, markBytes)); err != nil {
			return err
		}
	}
	return nil
}

// Check runs e2fsck in its automatic mode.
func (d *Disk) Check(ctx context.Context, device string) error {
	return d.tools.checkFileSystem(ctx, device)
}

// place is where a mark lies.
type place int

const (
	forPool place = iota
	atEnd
)

// offset of the place on a device, negative on one that is too small.
func (p place) offset(f *os.File) (int64, error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, fmt.Errorf("find end of %s: %w", f.Name(), err)
	}
	switch {
	case p == atEnd:
		return end - markBytes, nil
	case end < poolMarkAt+markBytes:
		return -1, nil
	}
	return poolMarkAt, nil
}

func (p place) has(f *os.File) (bool, error) {
	at, err := p.offset(f)
	if err != nil || at < 0 {
		return false, err
	}
	mark := make([]byte, markBytes)
	if _, err := f.ReadAt(mark, at); err != nil {
		return false, fmt.Errorf("read mark of %s at byte %d: %w", f.Name(), at, err)
	}
	return bytes.Equal(mark, formatMark()), nil
}

func hasMark(f *os.File) (bool, error) {
	marked, err := forPool.has(f)
	if marked || err != nil {
		return marked, err
	}
	return atEnd.has(f)
}

func setMark(device string, p place, mark []byte) error {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	at, err := p.offset(f)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(mark, at); err != nil {
		return fmt.Errorf("write mark of %s at byte %d: %w", device, at, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", device, err)
	}
	return f.Close()
}

// record is the file of one volume in the records directory.
type record struct {
	Clean bool `json:"clean"`
}

// Records returns what was recorded since the kernel started.
func (d *Disk) Records() (map[string]bool, error) {
	files, err := filepath.Glob(filepath.Join(d.records, "*.json"))
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var r record
		if err := json.Unmarshal(data, &r); err != nil {
			return nil, fmt.Errorf("parse %s: %w", file, err)
		}
		name := filepath.Base(file)
		out[name[:len(name)-len(".json")]] = r.Clean
	}
	return out, nil
}

// Record keeps whether a volume was clean. A record that exists already stays as it is.
func (d *Disk) Record(volume string, clean bool) error {
	if err := os.MkdirAll(d.records, 0o700); err != nil {
		return err
	}
	path := filepath.Join(d.records, volume+".json")
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	data, err := json.Marshal(record{Clean: clean})
	if err != nil {
		return fmt.Errorf("encode record of %s: %w", volume, err)
	}
	// A rename, so that an agent killed half-way leaves no file that cannot be read.
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
