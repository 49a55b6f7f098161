package blockdev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/storage/signature"
)

// MakeImage makes a file system with a label in a file, which has its size, with all that lies in a folder.
func (d *Disk) MakeImage(ctx context.Context, image, label, from string) error {
	return d.tools.makeImage(ctx, image, label, from)
}

// Whole is a disk that is read and written as a whole. While it is open for writing, the kernel mounts none of its partitions, and opens none for
// others that want it alone.
type Whole struct {
	*os.File
	// SizeBytes and SectorBytes are the disk's.
	SizeBytes   int64
	SectorBytes int
	// Sequence is the kernel's number of the disk, also where a partition of it is open; 0 for a file. Each disk that comes gets another one, also under a name that was
	// another's (Documentation/ABI/stable/sysfs-block, diskseq; since Linux 5.15).
	Sequence uint64
}

// ErrOtherDisk is of a name that was one disk's when it was looked at, and is another's now.
var ErrOtherDisk = errors.New("another disk has its name by now")

// Hold opens a disk to keep its name. Until it is closed no other disk gets that, also if this one is pulled: drivers give a name back when the last has closed the disk
// (free_disk of struct block_device_operations in include/linux/blkdev.h: scsi_disk_free_disk, virtblk_free_disk; of NVMe, nvme_free_ns_head; Linux 6.12). It keeps
// nobody else from using the disk.
func Hold(device string) (*Whole, error) { return OpenShared(device, false) }

// OpenWhole opens a disk, to write to it or not. For writing, a disk of which something is mounted or held by another device is unix.EBUSY (open(2),
// O_EXCL). A file stands for a disk with sectors of 512 bytes.
func OpenWhole(device string, write bool) (*Whole, error) {
	flags := os.O_RDONLY
	if write {
		flags = os.O_RDWR | unix.O_EXCL
	}
	return openWhole(device, flags)
}

func openWhole(device string, flags int) (*Whole, error) {
	f, err := os.OpenFile(device, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	w := &Whole{File: f, SectorBytes: sysfsSectorBytes}
	if err := w.measure(); err != nil {
		return nil, errors.Join(fmt.Errorf("measure %s: %w", device, err), f.Close())
	}
	return w, nil
}

func (w *Whole) measure() error {
	info, err := w.Stat()
	if err != nil {
		return err
	}
	if info.Mode().IsRegular() {
		w.SizeBytes = info.Size()
		return nil
	}
	if w.SectorBytes, err = unix.IoctlGetInt(int(w.Fd()), unix.BLKSSZGET); err != nil {
		return err
	}
	number, err := unix.IoctlGetInt(int(w.Fd()), unix.BLKGETDISKSEQ) // of 64 bits, as an int has on the machines that this is for
	if err != nil {
		return err
	}
	w.Sequence = uint64(number)
	w.SizeBytes, err = w.Seek(0, 2)
	return err
}

// WriteAt is that of the file. A disk that is gone has 0 bytes, and what is written beyond the end of a device is an error like that of a full file system
// (__blk_mark_disk_dead in block/genhd.c and blkdev_write_iter in block/fops.c, Linux 6.12), which is told as what it is. What a disk that has no room for its blocks says
// itself comes with Sync.
func (w *Whole) WriteAt(p []byte, at int64) (int, error) {
	n, err := w.File.WriteAt(p, at)
	if errors.Is(err, unix.ENOSPC) {
		if info, statErr := w.Stat(); statErr == nil && info.Mode()&os.ModeDevice != 0 {
			err = fmt.Errorf("the disk is gone, or smaller than it was: %w", err)
		}
	}
	return n, err
}

// Discard tells the device that a part holds nothing any more (ioctl BLKDISCARD). It is unix.EOPNOTSUPP where the device knows no such thing.
func (w *Whole) Discard(at, n int64) error {
	if n <= 0 {
		return nil
	}
	if info, err := w.Stat(); err != nil || info.Mode().IsRegular() {
		if err == nil {
			err = unix.Fallocate(int(w.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, n)
		}
		return err
	}
	return discard(int(w.Fd()), uint64(at), uint64(n))
}

// Renew has the kernel read the partition table (ioctl BLKRRPART). It is unix.EBUSY while a partition is in use.
func (w *Whole) Renew() error {
	if info, err := w.Stat(); err != nil || info.Mode().IsRegular() {
		return err
	}
	return unix.IoctlSetInt(int(w.Fd()), unix.BLKRRPART, 0)
}

// InUse says in words who uses a disk or one of its partitions: what is mounted, and devices that are made of it. It is empty if nobody does.
func (d *Disk) InUse(name, mountinfo string) (string, error) { return d.usedBy(name, mountinfo, "") }

// usedBy is InUse, where a device that is made of it, by the kernel's name, does not count.
func (d *Disk) usedBy(name, mountinfo, except string) (string, error) {
	dir := filepath.Join(d.sysfs, "class/block", name)
	numbers := map[string]string{}
	devices := []string{""}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("look for users of %s: %w", name, err)
	}
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(dir, e.Name(), "partition")); err == nil {
			devices = append(devices, e.Name())
		}
	}
	var users []string
	for _, part := range devices {
		device := part
		if device == "" {
			device = name
		}
		if number, err := os.ReadFile(filepath.Join(dir, part, "dev")); err == nil {
			numbers[strings.TrimSpace(string(number))] = device
		}
		holders, _ := os.ReadDir(filepath.Join(dir, part, "holders"))
		for _, h := range holders {
			if h.Name() != except {
				users = append(users, fmt.Sprintf("%s is part of %s", device, h.Name()))
			}
		}
	}
	mounts, err := os.ReadFile(mountinfo)
	if err != nil {
		return "", fmt.Errorf("look for users of %s: %w", name, err)
	}
	users = append(users, mountedOn(string(mounts), numbers)...)
	slices.Sort(users)
	return strings.Join(slices.Compact(users), ", "), nil
}

// mountedOn names what proc_pid_mountinfo(5) has mounted of devices, by their numbers.
func mountedOn(mountinfo string, numbers map[string]string) []string {
	var out []string
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		if device, ours := numbers[fields[2]]; ours {
			out = append(out, fmt.Sprintf("%s is mounted on %s", device, fields[4]))
		}
	}
	return out
}

// OpenShared opens a disk that others use too, such as the one that the node runs from.
func OpenShared(device string, write bool) (*Whole, error) {
	flags := os.O_RDONLY
	if write {
		flags = os.O_RDWR
	}
	return openWhole(device, flags)
}

const (
	// wipeHeadBytes and wipeTailBytes are overwritten at the ends of a device that is wiped: all places where file systems and volume managers begin, and
	// the headers and keys of LUKS2, which take 16 MiB (cryptsetup-luksFormat(8), "--luks2-keyslots-size").
	wipeHeadBytes = 16 << 20
	wipeTailBytes = 1 << 20
	// wipeInnerBytes are overwritten at both ends of each of its partitions: half of the labels of ZFS are at the end of one, which is anywhere on the disk.
	wipeInnerBytes = 1 << 20
)

// Wipe discards what a device holds, and overwrites with zeros both of its ends, and those of each partition that its table has. It has to be used by nobody, else
// it is unix.EBUSY. What a device that does not discard, or fails to, holds elsewhere stays there, and nothing leads to it.
func Wipe(ctx context.Context, device string) error {
	w, err := OpenWhole(device, true)
	if err != nil {
		return fmt.Errorf("wipe %s: %w", device, err)
	}
	defer w.Close()
	if err := w.wipe(ctx, w.Discard); err != nil {
		return fmt.Errorf("wipe %s: %w", device, err)
	}
	return nil
}

func (w *Whole) wipe(ctx context.Context, discard func(at, n int64) error) error {
	// Before the table is gone, which is overwritten last: where nothing is discarded, a wipe that was cut off is begun anew by it.
	parts := w.partitionEnds()
	// At most a hint: afterwards anything may be read there. Adapters that announce it and cannot do it (EREMOTEIO, EIO) are common, and a node that was
	// told to wipe does nothing else before it has.
	_ = discard(0, w.SizeBytes)
	head, tail := min(wipeHeadBytes, w.SizeBytes), min(wipeTailBytes, w.SizeBytes)
	end := max(head, (w.SizeBytes-tail)/wipeTailBytes*wipeTailBytes)
	parts = append(parts, signature.Range{Bytes: head}, signature.Range{Offset: end, Bytes: w.SizeBytes - end})
	for _, part := range parts {
		if err := w.zero(ctx, part); err != nil {
			return err
		}
	}
	if err := w.Sync(); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

// zeroBytes are written at once.
const zeroBytes = 1 << 20

// zero overwrites a part of the device with zeros.
func (w *Whole) zero(ctx context.Context, part signature.Range) error {
	zeros := make([]byte, zeroBytes)
	for at, end := part.Offset, part.Offset+part.Bytes; at < end; at += zeroBytes {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := w.WriteAt(zeros[:min(zeroBytes, end-at)], at); err != nil {
			return err
		}
	}
	return nil
}

// partitionEnds are both ends of each partition that a GUID partition table has. Of a table that cannot be read there are none.
func (w *Whole) partitionEnds() []signature.Range {
	t, err := readTable(w, uint64(w.SectorBytes), uint64(w.SizeBytes))
	if err != nil {
		return nil
	}
	var ends []signature.Range
	for n := 1; n <= len(t.entries)/t.entryBytes; n++ {
		e := t.entry(n)
		if e == nil {
			continue
		}
		first, last := bounds(e)
		if first > last || last >= t.sectors {
			continue // it is not on this disk
		}
		start, end := int64(first*t.sectorBytes), int64((last+1)*t.sectorBytes)
		bytes := min(wipeInnerBytes, end-start)
		ends = append(ends, signature.Range{Offset: start, Bytes: bytes}, signature.Range{Offset: end - bytes, Bytes: bytes})
	}
	return ends
}
