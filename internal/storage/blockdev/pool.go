package blockdev

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
	"unicode/utf16"
)

// poolPartition is the name of the partition of a pool's disk.
const poolPartition = "cyvive-pool"

// poolType is the type of partitions of ZFS, 6A898CC3-1DD2-11B2-99A6-080020736631, in the order of bytes of the UEFI specification (2.10, appendix A): the one of
// EFI_USR in OpenZFS's lib/libefi/rdwr_efi.c, which zpool uses itself.
func poolType() []byte {
	return []byte{0xC3, 0x8C, 0x89, 0x6A, 0xD2, 0x1D, 0xB2, 0x11, 0x99, 0xA6, 0x08, 0x00, 0x20, 0x73, 0x66, 0x31}
}

// newPoolTable is a partition table with one partition, from 1 MiB to the end of the disk.
func newPoolTable(sectorBytes, diskBytes uint64, diskGUID, partitionGUID [16]byte) (*table, error) {
	const entries, entryBytes = 128, 128
	t := &table{
		sectorBytes: sectorBytes, sectors: diskBytes / max(sectorBytes, 1), entryBytes: entryBytes, entries: make([]byte, entries*entryBytes), primaryEntries: 2,
		mbr: make([]byte, sectorBytes), header: make([]byte, sectorBytes),
	}
	if sectorBytes < 512 || sectorBytes > 65536 || diskBytes < minPoolBytes {
		return nil, fmt.Errorf("make partition table: a disk of %d bytes with sectors of %d is out of range; expected %d MiB or more", diskBytes, sectorBytes, minPoolBytes>>20)
	}
	first := max(alignBytes/sectorBytes, 1)
	e := t.entries[:entryBytes]
	copy(e, poolType())
	copy(e[16:], partitionGUID[:])
	binary.LittleEndian.PutUint64(e[entryFirstBlock:], first)
	binary.LittleEndian.PutUint64(e[entryLastBlock:], t.end())
	for i, c := range utf16.Encode([]rune(poolPartition)) {
		binary.LittleEndian.PutUint16(e[56+2*i:], c)
	}
	h := t.header
	copy(h, gptSignature)
	binary.LittleEndian.PutUint32(h[8:], 0x00010000) // revision
	binary.LittleEndian.PutUint32(h[12:], gptHeaderBytes)
	binary.LittleEndian.PutUint64(h[40:], t.primaryEntries+t.entrySectors()) // first usable block
	copy(h[56:], diskGUID[:])
	binary.LittleEndian.PutUint64(h[72:], t.primaryEntries)
	binary.LittleEndian.PutUint32(h[80:], entries)
	binary.LittleEndian.PutUint32(h[84:], entryBytes)
	// The protective MBR: one partition over all of the disk.
	copy(t.mbr[446:], []byte{0, 0, 2, 0, mbrProtective, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0})
	t.mbr[510], t.mbr[511] = 0x55, 0xAA
	return t, nil
}

// minPoolBytes is the least that ZFS takes (SPA_MINDEVSIZE of include/sys/fs/zfs.h), with room for the tables.
const minPoolBytes = 66 << 20

// PreparePool makes a disk ready for a pool: what it held is lost, and it has one partition, whose device is returned. ZFS is given that, as zpool would wait for udev to
// announce one that it makes itself. Sequence is the number of the disk that was looked at: one that has its name by now is ErrOtherDisk. A disk that is in use is
// unix.EBUSY. One that is prepared, and was not written to since, is left as it is: of many slow disks, those
// that were done are not begun again.
func (d *Disk) PreparePool(ctx context.Context, device string, sequence uint64) (partition string, err error) {
	w, err := OpenWhole(device, true)
	if err != nil {
		return "", fmt.Errorf("partition %s: %w", device, err)
	}
	defer w.Close()
	if w.Sequence != sequence {
		return "", fmt.Errorf("partition %s: %w", device, ErrOtherDisk)
	}
	w.forget()
	prepared, blank, growable, err := PreparedForPool(w, uint64(w.SectorBytes), uint64(w.SizeBytes))
	if err != nil {
		return "", fmt.Errorf("look at %s: %w", device, err)
	}
	if !prepared || !blank || growable > 0 {
		if err := w.wipe(ctx, w.Discard); err != nil {
			return "", fmt.Errorf("wipe %s: %w", device, err)
		}
		if err := w.writePoolTable(); err != nil {
			return "", fmt.Errorf("partition %s: %w", device, err)
		}
	}
	if err := w.Renew(); err != nil {
		return "", fmt.Errorf("have the kernel read the partitions of %s: %w", device, err)
	}
	partition = poolDevice(device)
	return partition, awaitDevice(ctx, partition)
}

// writePoolTable writes the table, and zeros where the last labels of an earlier pool may be.
func (w *Whole) writePoolTable() error {
	var ids [2][16]byte
	for i := range ids {
		if _, err := rand.Read(ids[i][:]); err != nil {
			return err
		}
		ids[i][7], ids[i][8] = ids[i][7]&0x0F|0x40, ids[i][8]&0x3F|0x80 // version 4 (RFC 9562, section 5.4), in the order of bytes of UEFI
	}
	t, err := newPoolTable(uint64(w.SectorBytes), uint64(w.SizeBytes), ids[0], ids[1])
	if err != nil {
		return err
	}
	end := int64((t.end() + 1) * t.sectorBytes)
	if _, err := w.WriteAt(make([]byte, alignBytes), end-alignBytes); err != nil {
		return fmt.Errorf("clear the end: %w", err)
	}
	return t.write(w, w.Sync)
}

// poolDevice is the device of a disk's first partition, as the kernel names it (bdevname in block/partitions/core.c).
func poolDevice(device string) string {
	if last := device[len(device)-1]; last >= '0' && last <= '9' {
		return device + "p1"
	}
	return device + "1"
}

// awaitDevice waits for devtmpfs to have a device, which it has as soon as the kernel knows it.
func awaitDevice(ctx context.Context, device string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		_, err := os.Stat(device)
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", device, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// PreparedForPool tells whether a disk is one that PreparePool has made, with one partition and no other, and by how many bytes that could grow. Blank says that nothing
// was written to the partition's beginning and end since.
func PreparedForPool(r io.ReaderAt, sectorBytes, diskBytes uint64) (prepared, blank bool, growableBytes uint64, err error) {
	t, err := readTable(r, sectorBytes, diskBytes)
	if err != nil {
		return false, false, 0, nil // another table, a damaged one, or none
	}
	e := t.entry(1)
	if e == nil || string(e[:16]) != string(poolType()) {
		return false, false, 0, nil
	}
	for n := 2; n <= len(t.entries)/t.entryBytes; n++ {
		if t.entry(n) != nil {
			return false, false, 0, nil // what else is on the disk is not looked at
		}
	}
	first, last := bounds(e)
	if first > last || last >= t.sectors {
		return false, false, 0, nil
	}
	blank = true
	for _, at := range []uint64{first * sectorBytes, (last+1)*sectorBytes - min(alignBytes, (last-first+1)*sectorBytes)} {
		b := make([]byte, min(alignBytes, (last-first+1)*sectorBytes))
		if _, err := r.ReadAt(b, int64(at)); err != nil && !errors.Is(err, io.EOF) {
			return false, false, 0, fmt.Errorf("read the partition of a pool: %w", err)
		}
		for _, c := range b {
			blank = blank && c == 0
		}
	}
	return true, blank, t.growable(1), nil
}
