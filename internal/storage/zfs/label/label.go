package label

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// State is what a label says of its pool (include/sys/fs/zfs.h, pool_state_t).
type State uint64

// The states that a label can have.
const (
	Active State = iota
	Exported
	Destroyed
	Spare
	Cache
)

// String is the word that zpool uses for a state.
func (s State) String() string {
	words := []string{"active", "exported", "destroyed", "spare", "cache"}
	if s < State(len(words)) {
		return words[s]
	}
	return "state " + strconv.FormatUint(uint64(s), 10)
}

// Label is what a device says of its pool.
type Label struct {
	// Name and PoolGUID are the pool's. A spare or cache device has neither, as it may serve several.
	Name     string
	PoolGUID uint64
	// GUID is that of the device.
	GUID  uint64
	State State
	// TXG is the number of the transaction in which the label was written.
	TXG uint64
	// Peers are the other devices of the same top-level vdev, as they were then. A spare or cache device knows none.
	Peers []Peer
	// Latest is the newest of the pool's transactions that is on the device, in the ring of this label; zero if none can be read.
	Latest Uberblock
}

// Peer is another device of a vdev, by what a label says of it.
type Peer struct {
	GUID uint64
	// Away says that the device was out of use, so that the pool went on without it. Offline says that this was asked for.
	Away, Offline bool
}

// Uberblock is where a transaction of a pool begins.
type Uberblock struct {
	TXG uint64
	// Time is when it was written, by the clock of who did.
	Time time.Time
}

var (
	// ErrNone says that there is no label.
	ErrNone = errors.New("no label of ZFS")
	// ErrDamaged says that there are labels, and none of them is whole.
	ErrDamaged = errors.New("no label of ZFS is whole")
)

const (
	labelBytes = 256 << 10
	// physOffset and physBytes are where vdev_phys_t lies in a label. It ends with a checksum (include/sys/zio.h, zio_eck_t): a magic number and four
	// words.
	physOffset = 16 << 10
	physBytes  = 112 << 10
	eckBytes   = 40
	eckMagic   = 0x210da7ab10c7a11
	// ringOffset and ringBytes are where the uberblocks lie in a label. Each has as much room as a sector of the vdev, by its power of two, between the two shifts
	// (VDEV_UBERBLOCK_SHIFT), and ends with a checksum of the same kind.
	ringOffset = 128 << 10
	ringBytes  = 128 << 10
	minShift   = 10
	maxShift   = 13
	// Of an uberblock (include/sys/uberblock_impl.h, struct uberblock): the magic number, and where the numbers lie that are read.
	uberblockMagic = 0x00bab10c
	uberblockTXG   = 16
	uberblockTime  = 32
)

// Read returns the newest label that is whole of a device with the given size. It is ErrNone or ErrDamaged where there is none, or an error of reading.
// The pool may be imported meanwhile.
func Read(r io.ReaderAt, sizeBytes int64) (Label, error) {
	// vdev_open rounds the size down to whole labels.
	sizeBytes -= sizeBytes % labelBytes
	if sizeBytes < 4*labelBytes {
		return Label{}, ErrNone
	}
	var newest *Label
	var damaged error
	var ring int64
	var shift uint64
	for _, at := range []int64{0, labelBytes, sizeBytes - 2*labelBytes, sizeBytes - labelBytes} {
		phys := make([]byte, physBytes)
		if _, err := r.ReadAt(phys, at+physOffset); err != nil {
			return Label{}, fmt.Errorf("read label at byte %d: %w", at, err)
		}
		l, s, err := parse(phys, uint64(at)+physOffset)
		switch {
		case errors.Is(err, ErrNone):
		case err != nil:
			damaged = fmt.Errorf("%w: at byte %d: %w", ErrDamaged, at, err)
		case newest == nil || l.TXG > newest.TXG:
			newest, ring, shift = &l, at+ringOffset, s
		}
	}
	switch {
	case newest != nil:
		newest.Latest = latest(r, ring, shift)
		return *newest, nil
	case damaged != nil:
		return Label{}, damaged
	}
	return Label{}, ErrNone
}

// parse reads a vdev_phys_t that lies at a byte of the device. Shift is the power of two of the vdev's sectors.
func parse(phys []byte, at uint64) (l Label, shift uint64, err error) {
	if err := verify(phys, at); err != nil {
		return Label{}, 0, err
	}
	values, err := parseList(phys[:physBytes-eckBytes])
	if err != nil {
		return Label{}, 0, err
	}
	l = Label{Name: values.strings["name"], PoolGUID: values.numbers["pool_guid"], GUID: values.numbers["guid"], TXG: values.numbers["txg"]}
	state, ok := values.numbers["state"]
	if !ok || l.GUID == 0 {
		return Label{}, 0, errors.New("the list has no state, or no guid")
	}
	l.State = State(state)
	for _, top := range values.lists[vdevTree] {
		shift = top.numbers["ashift"]
		for _, p := range leaves(top) {
			if p.GUID != l.GUID {
				l.Peers = append(l.Peers, p)
			}
		}
	}
	return l, shift, nil
}

// leaves are the devices of a vdev. Away is each of what keeps one from being written to: it was not there when the pool was imported (vdev_set_state in
// module/zfs/vdev.c), was pulled, had too many errors, or was taken out (vdev_config_generate in module/zfs/vdev_label.c).
func leaves(vdev list) []Peer {
	var out []Peer
	for _, child := range vdev.lists[vdevChildren] {
		out = append(out, leaves(child)...)
	}
	if n := vdev.numbers; len(out) == 0 {
		out = append(out, Peer{
			GUID: n["guid"], Offline: n["offline"] != 0, Away: n["not_present"] != 0 || n["removed"] != 0 || n["faulted"] != 0 || n["offline"] != 0,
		})
	}
	return out
}

// latest is the newest uberblock of a ring that lies at a byte of the device, in the order of vdev_uberblock_compare (module/zfs/vdev_label.c). Those of one device
// differ in nothing else.
func latest(r io.ReaderAt, at int64, shift uint64) Uberblock {
	ring := make([]byte, ringBytes)
	if _, err := r.ReadAt(ring, at); err != nil {
		return Uberblock{}
	}
	var out Uberblock
	size := 1 << min(max(shift, minShift), maxShift)
	for n := 0; n < ringBytes; n += size {
		b := ring[n : n+size]
		var order binary.ByteOrder = binary.LittleEndian
		if order.Uint64(b) != uberblockMagic {
			order = binary.BigEndian
		}
		u := Uberblock{TXG: order.Uint64(b[uberblockTXG:]), Time: time.Unix(int64(order.Uint64(b[uberblockTime:])), 0).UTC()}
		newer := u.TXG > out.TXG || u.TXG == out.TXG && u.Time.After(out.Time)
		if order.Uint64(b) == uberblockMagic && newer && verify(b, uint64(at)+uint64(n)) == nil {
			out = u
		}
	}
	return out
}

// verify checks the sum at the end (module/zfs/zio_checksum.c, zio_checksum_error_impl): it is SHA-256 over all, with the place on the device in the place
// of the sum, and its words are stored as the machine that wrote them has them. The list is in XDR in any case.
func verify(b []byte, at uint64) error {
	eck := b[len(b)-eckBytes:]
	var order binary.ByteOrder
	switch uint64(eckMagic) {
	case binary.LittleEndian.Uint64(eck):
		order = binary.LittleEndian
	case binary.BigEndian.Uint64(eck):
		order = binary.BigEndian
	default:
		return ErrNone
	}
	verifier := make([]byte, eckBytes-8)
	order.PutUint64(verifier, at)
	h := sha256.New()
	h.Write(b[:len(b)-len(verifier)])
	h.Write(verifier)
	sum := h.Sum(nil)
	for i := 0; i < len(sum); i += 8 {
		if order.Uint64(eck[8+i:]) != binary.BigEndian.Uint64(sum[i:]) {
			return errors.New("its checksum is wrong")
		}
	}
	return nil
}
