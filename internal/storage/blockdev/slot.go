package blockdev

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/siderolabs/go-blockdevice/v2/block"
	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/storage"
)

// Slot is one of the two places of a system on a disk: the partitions root-a and verity-a, or root-b and verity-b.
type Slot struct {
	Root, Verity storage.Partition
	// RootHash is the one whose halves are the UUIDs of the partitions. Whether they hold that root is another question.
	RootHash [32]byte
}

// Slot finds the partitions of a slot, a or b.
func (d *Disk) Slot(_ context.Context, disk, name string) (Slot, error) {
	list, err := partitions(d.sysfs, disk)
	if err != nil {
		return Slot{}, err
	}
	var s Slot
	for _, p := range list {
		switch p.Name {
		case "root-" + name:
			s.Root = p
		case "verity-" + name:
			s.Verity = p
		}
	}
	if s.Root.Number == 0 || s.Verity.Number == 0 {
		return Slot{}, fmt.Errorf("find slot %s: %s has no partitions root-%s and verity-%s", name, disk, name, name)
	}
	t, dev, err := openTable(disk)
	if err != nil {
		return Slot{}, err
	}
	defer dev.Close()
	root, verity := t.uuid(s.Root.Number), t.uuid(s.Verity.Number)
	copy(s.RootHash[:], append(root[:], verity[:]...))
	return s, nil
}

// WriteSlot writes a root and its hash tree into a slot, and then gives its partitions the UUIDs by which stage 1 finds them: the halves of the
// root hash. A slot that was written in part keeps its old UUIDs, so the caller sees to it first that no boot entry leads there. The root's
// device must not be in use.
func (d *Disk) WriteSlot(ctx context.Context, disk string, s Slot, rootHash [32]byte, root, tree io.Reader) error {
	for _, part := range []struct {
		p    storage.Partition
		from io.Reader
	}{{s.Root, root}, {s.Verity, tree}} {
		if err := writePartition(ctx, part.p.Device, int64(part.p.SizeBytes), part.from); err != nil {
			return err
		}
	}
	t, dev, err := openTable(disk, block.OpenForWrite())
	if err != nil {
		return err
	}
	defer dev.Close()
	if err := errors.Join(t.identify(s.Root.Number, [16]byte(rootHash[:16])), t.identify(s.Verity.Number, [16]byte(rootHash[16:]))); err != nil {
		return err
	}
	return t.write(dev.File(), dev.File().Sync)
}

// entryUUID is where an entry has the partition's own UUID.
const entryUUID = 16

// identify sets a partition's own UUID, in memory. The first three fields of a UUID are stored with the low byte first (UEFI 2.10, appendix A).
func (t *table) identify(number int, id [16]byte) error {
	e := t.entry(number)
	if e == nil {
		return fmt.Errorf("name partition %d: not in the partition table", number)
	}
	le, be := binary.LittleEndian, binary.BigEndian
	le.PutUint32(e[entryUUID:], be.Uint32(id[0:]))
	le.PutUint16(e[entryUUID+4:], be.Uint16(id[4:]))
	le.PutUint16(e[entryUUID+6:], be.Uint16(id[6:]))
	copy(e[entryUUID+8:], id[8:])
	return nil
}

// uuid returns a partition's own UUID; zero for one that is not in the table.
func (t *table) uuid(number int) (id [16]byte) {
	e := t.entry(number)
	if e == nil {
		return id
	}
	le, be := binary.LittleEndian, binary.BigEndian
	be.PutUint32(id[0:], le.Uint32(e[entryUUID:]))
	be.PutUint16(id[4:], le.Uint16(e[entryUUID+4:]))
	be.PutUint16(id[6:], le.Uint16(e[entryUUID+6:]))
	copy(id[8:], e[entryUUID+8:])
	return id
}

// syncEvery bounds what waits in memory to be written: a node that is upgraded goes on working.
const syncEvery = 16 << 20

// writePartition writes a stream to the beginning of a device, in pieces that are on the disk before the next begins, and leaves none of it in
// the page cache. A stream of more than limit bytes is an error; its surplus is not written.
func writePartition(ctx context.Context, device string, limit int64, from io.Reader) error {
	f, err := os.OpenFile(device, os.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	fd := int(f.Fd())
	for written := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("write %s: %w", device, err)
		}
		n, err := io.CopyN(f, from, min(syncEvery, limit-written))
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("write %s: %w", device, err)
		}
		if errSync := f.Sync(); errSync != nil {
			return fmt.Errorf("sync %s: %w", device, errSync)
		}
		_ = unix.Fadvise(fd, written, n, unix.FADV_DONTNEED) // a hint
		written += n
		if errors.Is(err, io.EOF) {
			return f.Close()
		}
		if written == limit {
			// The end of the stream may be an error still: that what came is not what was signed.
			switch _, err := io.ReadFull(from, make([]byte, 1)); {
			case err == nil:
				return fmt.Errorf("write %s: what is to be written is larger than its %d bytes", device, limit)
			case !errors.Is(err, io.EOF):
				return fmt.Errorf("write %s: %w", device, err)
			}
			return f.Close()
		}
	}
}
