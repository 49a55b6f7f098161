// Package labeltest writes labels of ZFS, as package label reads them, for tests that have no ZFS. What real ones are like, VM tests check.
package labeltest

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/cyvive/cyvive/internal/storage/zfs/label"
)

// Of the format, as package label has it.
const (
	encodingXDR = 1
	typeUint64  = 8
	typeString  = 9
	physOffset  = 16 << 10
	physBytes   = 112 << 10
	eckBytes    = 40
	eckMagic    = 0x210da7ab10c7a11
)

// Pair packs a pair of a list.
func Pair(name string, kind uint32, value []byte) []byte {
	var b []byte
	b = append(b, xdrWord(name)...)
	b = binary.BigEndian.AppendUint32(b, kind)
	b = binary.BigEndian.AppendUint32(b, 1)
	b = append(b, value...)
	head := binary.BigEndian.AppendUint32(nil, uint32(len(b)+8))
	return append(binary.BigEndian.AppendUint32(head, uint32(len(b)+8)), b...)
}

func xdrWord(s string) []byte {
	b := append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...)
	return append(b, make([]byte, (4-len(s)%4)%4)...)
}

// Number packs a number.
func Number(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

// Packed is the list of a label.
func Packed(l label.Label) []byte {
	b := []byte{encodingXDR, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}
	b = append(b, Pair("version", typeUint64, Number(5000))...)
	b = append(b, Pair("name", typeString, xdrWord(l.Name))...)
	b = append(b, Pair("state", typeUint64, Number(uint64(l.State)))...)
	b = append(b, Pair("txg", typeUint64, Number(l.TXG))...)
	b = append(b, Pair("pool_guid", typeUint64, Number(l.PoolGUID))...)
	b = append(b, Pair("guid", typeUint64, Number(l.GUID))...)
	b = append(b, Pair("hostid", typeUint64, Number(0xfeed))...)
	b = append(b, Pair("hostname", typeString, xdrWord("n1"))...)
	b = append(b, Pair("vdev_tree", 19, []byte{0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0})...)
	return append(b, make([]byte, 8)...)
}

// Put writes a label with a list to a place of a device.
func Put(device []byte, at int, order binary.ByteOrder, list []byte) {
	phys := device[at+physOffset : at+physOffset+physBytes]
	clear(phys)
	copy(phys, list)
	eck := phys[physBytes-eckBytes:]
	order.PutUint64(eck, eckMagic)
	order.PutUint64(eck[8:], uint64(at)+physOffset)
	sum := sha256.Sum256(phys)
	for i := 0; i < len(sum); i += 8 {
		order.PutUint64(eck[8+i:], binary.BigEndian.Uint64(sum[i:]))
	}
}
