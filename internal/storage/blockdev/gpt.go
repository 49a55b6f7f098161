package blockdev

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
)

// The layout of a GUID partition table is chapter 5 of the UEFI specification (2.10): a protective MBR in block 0, the header in block 1,
// its entries, and copies of both at the end of the disk.
const (
	gptSignature    = "EFI PART"
	gptHeaderBytes  = 92
	maxEntries      = 1024
	maxEntryBytes   = 1024
	alignBytes      = 1 << 20
	mbrTypeOffset   = 446 + 4
	mbrSizeOffset   = 446 + 12
	mbrProtective   = 0xEE
	entryFirstBlock = 32
	entryLastBlock  = 40
)

// table is a partition table that was read and checked.
type table struct {
	sectorBytes uint64
	// sectors is the size of the disk now, which may be more than the header knows.
	sectors uint64
	mbr     []byte
	// header is the whole block of the header, entries the whole array.
	header, entries []byte
	entryBytes      int
	// primaryEntries is the block of the primary table's entries.
	primaryEntries uint64
	// fromCopy says that the primary table is damaged, and this is its copy.
	fromCopy bool
}

// readTable reads the primary table of a disk or, if that is damaged, its copy at the end of the disk. The kernel does the same where "gpt" is on its
// command line, as the image has it (find_valid_gpt, block/partitions/efi.c, Linux 6.12), and so does stage 1; firmware may even mend the one from the
// other. A power cut amid write leaves a table like that.
func readTable(r io.ReaderAt, sectorBytes, diskBytes uint64) (*table, error) {
	if sectorBytes < 512 || sectorBytes > 65536 || diskBytes/sectorBytes < 128 {
		return nil, fmt.Errorf("read partition table: a disk of %d bytes with sectors of %d is out of range", diskBytes, sectorBytes)
	}
	t := &table{sectorBytes: sectorBytes, sectors: diskBytes / sectorBytes, mbr: make([]byte, sectorBytes)}
	if _, err := r.ReadAt(t.mbr, 0); err != nil {
		return nil, fmt.Errorf("read partition table: %w", err)
	}
	err := t.read(r, 1)
	if err == nil {
		t.primaryEntries = t.entriesAt()
		return t, nil
	}
	if errCopy := t.read(r, t.sectors-1); errCopy != nil {
		return nil, fmt.Errorf("read partition table: %w; its copy: %w", err, errCopy)
	}
	// The header that would say where they were is no good. Behind it is where everybody has them.
	t.primaryEntries, t.fromCopy = 2, true
	if usable := binary.LittleEndian.Uint64(t.header[40:]); usable < t.primaryEntries+t.entrySectors() {
		return nil, fmt.Errorf("read partition table: %w; its copy lets partitions begin in block %d, which leaves no place for it", err, usable)
	}
	return t, nil
}

// read reads the table whose header is in a block.
func (t *table) read(r io.ReaderAt, block uint64) error {
	h := make([]byte, t.sectorBytes)
	if _, err := r.ReadAt(h, int64(block*t.sectorBytes)); err != nil {
		return err
	}
	t.header = h
	size := binary.LittleEndian.Uint32(h[12:])
	switch {
	case string(h[:8]) != gptSignature:
		return fmt.Errorf("no GPT header in block %d", block)
	case size < gptHeaderBytes || uint64(size) > t.sectorBytes:
		return fmt.Errorf("a header of %d bytes is out of range", size)
	case headerSum(h) != binary.LittleEndian.Uint32(h[16:]):
		return errors.New("wrong checksum of the header")
	case binary.LittleEndian.Uint64(h[24:]) != block:
		return errors.New("the header does not name its own block")
	}
	count, entryBytes := binary.LittleEndian.Uint32(h[80:]), binary.LittleEndian.Uint32(h[84:])
	if count == 0 || count > maxEntries || entryBytes < 128 || entryBytes > maxEntryBytes || entryBytes%8 != 0 {
		return fmt.Errorf("%d entries of %d bytes are out of range", count, entryBytes)
	}
	t.entryBytes = int(entryBytes)
	t.entries = make([]byte, count*entryBytes)
	// Those of the primary table are in the first half of the disk, those of the copy in the second, before its header.
	at, first, end := t.entriesAt(), uint64(2), t.sectors/2
	if block != 1 {
		first, end = t.sectors/2, block
	}
	if at < first || at >= end || end-at < t.entrySectors() {
		return fmt.Errorf("entries in block %d are out of range", at)
	}
	if _, err := r.ReadAt(t.entries, int64(at*t.sectorBytes)); err != nil {
		return fmt.Errorf("read its entries: %w", err)
	}
	if crc32.ChecksumIEEE(t.entries) != binary.LittleEndian.Uint32(h[88:]) {
		return errors.New("wrong checksum of the entries")
	}
	return nil
}

// entriesAt is the block in which the entries of the table begin that was read.
func (t *table) entriesAt() uint64 { return binary.LittleEndian.Uint64(t.header[72:]) }

// headerSum is the checksum of a header with its own field taken as zero.
func headerSum(h []byte) uint32 {
	b := slices.Clone(h[:binary.LittleEndian.Uint32(h[12:])])
	clear(b[16:20])
	return crc32.ChecksumIEEE(b)
}

func (t *table) entrySectors() uint64 {
	return (uint64(len(t.entries)) + t.sectorBytes - 1) / t.sectorBytes
}

// entry returns the bytes of the entry of a partition, counted from 1, or nil if there is none.
func (t *table) entry(number int) []byte {
	if number < 1 || number > len(t.entries)/t.entryBytes {
		return nil
	}
	e := t.entries[(number-1)*t.entryBytes : number*t.entryBytes]
	if [16]byte(e[:16]) == [16]byte{} {
		return nil
	}
	return e
}

func bounds(entry []byte) (first, last uint64) {
	return binary.LittleEndian.Uint64(entry[entryFirstBlock:]), binary.LittleEndian.Uint64(entry[entryLastBlock:])
}

// end returns the last block that a partition may use: before the copy of the table at the end of the disk, on a boundary of 1 MiB.
func (t *table) end() uint64 {
	align := max(alignBytes/t.sectorBytes, 1)
	usable := t.sectors - 1 - t.entrySectors()
	return usable/align*align - 1
}

// growable returns by how many bytes the partition can grow: 0 if another one lies behind it.
func (t *table) growable(number int) uint64 {
	e := t.entry(number)
	if e == nil {
		return 0
	}
	_, last := bounds(e)
	for n := 1; n <= len(t.entries)/t.entryBytes; n++ {
		if other := t.entry(n); other != nil && n != number {
			if _, otherLast := bounds(other); otherLast > last {
				return 0
			}
		}
	}
	if end := t.end(); end > last {
		return (end - last) * t.sectorBytes
	}
	return 0
}

// grow moves the end of the partition to the end of the disk, in memory. It returns the partition's start and size in bytes.
func (t *table) grow(number int) (start, size uint64, err error) {
	e := t.entry(number)
	if e == nil {
		return 0, 0, fmt.Errorf("grow partition %d: not in the partition table", number)
	}
	first, last := bounds(e)
	if t.growable(number) > 0 {
		last = t.end()
		binary.LittleEndian.PutUint64(e[entryLastBlock:], last)
	}
	if first > last {
		return 0, 0, fmt.Errorf("grow partition %d: it starts behind its end", number)
	}
	return first * t.sectorBytes, (last - first + 1) * t.sectorBytes, nil
}

// write stores both tables, the one first that was not read, with sync after each step: whenever the power fails, one of the two is whole, the one that
// was read or the other.
func (t *table) write(w io.WriterAt, sync func() error) error {
	lastBlock := t.sectors - 1
	copyEntries := lastBlock - t.entrySectors()
	header := slices.Clone(t.header)
	put := binary.LittleEndian.PutUint64
	put(header[48:], copyEntries-1) // last usable block
	binary.LittleEndian.PutUint32(header[88:], crc32.ChecksumIEEE(t.entries))
	place := func(self, other, entries uint64) []byte {
		h := slices.Clone(header)
		put(h[24:], self)
		put(h[32:], other)
		put(h[72:], entries)
		binary.LittleEndian.PutUint32(h[16:], headerSum(h))
		return h
	}
	if t.mbr[mbrTypeOffset] == mbrProtective {
		binary.LittleEndian.PutUint32(t.mbr[mbrSizeOffset:], uint32(min(lastBlock, 0xFFFFFFFF)))
	}
	type step struct {
		block uint64
		data  []byte
	}
	first := []step{{copyEntries, t.entries}, {lastBlock, place(lastBlock, 1, copyEntries)}}
	second := []step{{t.primaryEntries, t.entries}, {1, place(1, lastBlock, t.primaryEntries)}}
	if t.fromCopy {
		first, second = second, first
	}
	for _, step := range slices.Concat(first, second, []step{{0, t.mbr}}) {
		if _, err := w.WriteAt(step.data, int64(step.block*t.sectorBytes)); err != nil {
			return fmt.Errorf("write partition table: %w", err)
		}
		if err := sync(); err != nil {
			return fmt.Errorf("sync partition table: %w", err)
		}
	}
	t.fromCopy = false
	return nil
}
