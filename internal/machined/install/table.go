package install

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"unicode/utf16"

	"github.com/google/uuid"
)

// The GUID partition table is chapter 5.3 of the UEFI specification (2.10).
const (
	entries         = 128
	entryBytes      = 128
	headerBytes     = 92
	tableCopyBytes  = (1 + entries*entryBytes/sectorBytes) * sectorBytes
	entriesSector   = 2
	gptSignature    = "EFI PART"
	gptRevision     = 0x00010000
	protectiveType  = 0xEE
	nameUnits       = 36
	headerGUIDStart = 56
)

// write is one write to the disk.
type write struct {
	at   int64
	data []byte
}

// tableWrites are the partition table, in the order in which it is to be written: the copy at the end, then the entries at the beginning, and last the first
// header and the protective MBR, by which kernel and firmware know it.
func (l Layout) tableWrites() []write {
	array := make([]byte, entries*entryBytes)
	for i, p := range l.Partitions {
		e := array[i*entryBytes:]
		putGUID(e, p.Type)
		putGUID(e[16:], p.UUID)
		binary.LittleEndian.PutUint64(e[32:], uint64(p.Start/sectorBytes))
		binary.LittleEndian.PutUint64(e[40:], uint64((p.Start+p.Bytes)/sectorBytes-1))
		for j, unit := range utf16.Encode([]rune(p.Name))[:min(len(p.Name), nameUnits)] {
			binary.LittleEndian.PutUint16(e[56+2*j:], unit)
		}
	}
	last := l.DiskBytes/sectorBytes - 1
	copyEntries := last - entries*entryBytes/sectorBytes
	return []write{
		{copyEntries * sectorBytes, array},
		{last * sectorBytes, l.header(array, last, 1, copyEntries)},
		{entriesSector * sectorBytes, array},
		{sectorBytes, l.header(array, 1, last, entriesSector)},
		{0, protectiveMBR(last)},
	}
}

// header is the one that lies in a sector, with its entries in another.
func (l Layout) header(array []byte, self, other, entriesAt int64) []byte {
	h := make([]byte, sectorBytes)
	le := binary.LittleEndian
	copy(h, gptSignature)
	le.PutUint32(h[8:], gptRevision)
	le.PutUint32(h[12:], headerBytes)
	le.PutUint64(h[24:], uint64(self))
	le.PutUint64(h[32:], uint64(other))
	le.PutUint64(h[40:], entriesSector+entries*entryBytes/sectorBytes)
	le.PutUint64(h[48:], uint64((l.DiskBytes-tableCopyBytes)/sectorBytes-1))
	putGUID(h[headerGUIDStart:], l.GUID)
	le.PutUint64(h[72:], uint64(entriesAt))
	le.PutUint32(h[80:], entries)
	le.PutUint32(h[84:], entryBytes)
	le.PutUint32(h[88:], crc32.ChecksumIEEE(array))
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:headerBytes]))
	return h
}

// protectiveMBR has one partition over the whole disk (5.2.3).
func protectiveMBR(last int64) []byte {
	b := make([]byte, sectorBytes)
	e := b[446:]
	// From head 0, cylinder 0, sector 2, to the end of what such numbers reach.
	copy(e, []byte{0, 0x00, 0x02, 0x00, protectiveType, 0xFF, 0xFF, 0xFF})
	binary.LittleEndian.PutUint32(e[8:], 1)
	binary.LittleEndian.PutUint32(e[12:], uint32(min(last, 0xFFFFFFFF)))
	b[510], b[511] = 0x55, 0xAA
	return b
}

// putGUID stores a GUID with the low byte of its first three fields first (appendix A).
func putGUID(b []byte, id uuid.UUID) {
	le, be := binary.LittleEndian, binary.BigEndian
	le.PutUint32(b, be.Uint32(id[0:]))
	le.PutUint16(b[4:], be.Uint16(id[4:]))
	le.PutUint16(b[6:], be.Uint16(id[6:]))
	copy(b[8:], id[8:16])
}

func getGUID(b []byte) (id uuid.UUID) {
	le, be := binary.LittleEndian, binary.BigEndian
	be.PutUint32(id[0:], le.Uint32(b))
	be.PutUint16(id[4:], le.Uint16(b[4:]))
	be.PutUint16(id[6:], le.Uint16(b[6:]))
	copy(id[8:], b[8:16])
	return id
}

// tableGUIDs returns the GUIDs in the headers at both ends of a disk, as far as there are such, whole or not.
func tableGUIDs(r io.ReaderAt, diskBytes int64) ([]uuid.UUID, error) {
	var out []uuid.UUID
	for _, at := range []int64{sectorBytes, diskBytes/sectorBytes*sectorBytes - sectorBytes} {
		h := make([]byte, sectorBytes)
		if n, err := r.ReadAt(h, at); n < len(h) {
			return nil, fmt.Errorf("read partition table: %w", err)
		}
		if string(h[:len(gptSignature)]) == gptSignature {
			out = append(out, getGUID(h[headerGUIDStart:]))
		}
	}
	return out, nil
}
