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

	typeList      = 19
	typeListArray = 20
	ringOffset    = 128 << 10
	ringBytes     = 128 << 10
	// Shift is that of the sectors of the vdevs in lists that are Packed.
	Shift = 12

	uberblockMagic = 0x00bab10c
)

// Pair packs a pair of a list.
func Pair(name string, kind uint32, value []byte) []byte { return pair(name, kind, 1, value) }

func pair(name string, kind, count uint32, value []byte) []byte {
	var b []byte
	b = append(b, xdrWord(name)...)
	b = binary.BigEndian.AppendUint32(b, kind)
	b = binary.BigEndian.AppendUint32(b, count)
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
	b = append(b, Pair("vdev_tree", typeList, tree(l))...)
	return append(b, make([]byte, 8)...)
}

// tree is a mirror of a device and its peers; the device alone if it has none.
func tree(l label.Label) []byte {
	leaf := func(p label.Peer) [][]byte {
		pairs := [][]byte{Pair("type", typeString, xdrWord("disk")), Pair("guid", typeUint64, Number(p.GUID))}
		switch {
		case p.Offline:
			pairs = append(pairs, Pair("offline", typeUint64, Number(1)))
		case p.Away:
			pairs = append(pairs, Pair("not_present", typeUint64, Number(1)))
		}
		return pairs
	}
	shift := Pair("ashift", typeUint64, Number(Shift))
	if len(l.Peers) == 0 {
		return inner(append(leaf(label.Peer{GUID: l.GUID}), shift)...)
	}
	children := inner(leaf(label.Peer{GUID: l.GUID})...)
	for _, p := range l.Peers {
		children = append(children, inner(leaf(p)...)...)
	}
	return inner(Pair("type", typeString, xdrWord("mirror")), shift, pair("children", typeListArray, uint32(len(l.Peers)+1), children))
}

// inner packs a list that is in another one.
func inner(pairs ...[]byte) []byte {
	b := []byte{0, 0, 0, 0, 0, 0, 0, 1} // version, and that names are there once
	for _, p := range pairs {
		b = append(b, p...)
	}
	return append(b, make([]byte, 8)...)
}

// PutUberblock writes an uberblock into the ring of the label at a place of a device, as that of a vdev with sectors of 1<<Shift bytes.
func PutUberblock(device []byte, at int, order binary.ByteOrder, u label.Uberblock) {
	const size = 1 << Shift
	place := at + ringOffset + int(u.TXG%(ringBytes/size))*size
	b := device[place : place+size]
	clear(b)
	for offset, number := range map[int]uint64{0: uberblockMagic, 8: 5000, 16: u.TXG, 32: uint64(u.Time.Unix())} {
		order.PutUint64(b[offset:], number)
	}
	seal(b, place, order)
}

// Put writes a label with a list to a place of a device.
func Put(device []byte, at int, order binary.ByteOrder, list []byte) {
	phys := device[at+physOffset : at+physOffset+physBytes]
	clear(phys)
	copy(phys, list)
	seal(phys, at+physOffset, order)
}

// seal puts the checksum at the end of what lies at a place of a device.
func seal(b []byte, at int, order binary.ByteOrder) {
	eck := b[len(b)-eckBytes:]
	order.PutUint64(eck, eckMagic)
	order.PutUint64(eck[8:], uint64(at))
	sum := sha256.Sum256(b)
	for i := 0; i < len(sum); i += 8 {
		order.PutUint64(eck[8+i:], binary.BigEndian.Uint64(sum[i:]))
	}
}
