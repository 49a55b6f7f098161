package label

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
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
	for _, at := range []int64{0, labelBytes, sizeBytes - 2*labelBytes, sizeBytes - labelBytes} {
		phys := make([]byte, physBytes)
		if _, err := r.ReadAt(phys, at+physOffset); err != nil {
			return Label{}, fmt.Errorf("read label at byte %d: %w", at, err)
		}
		l, err := parse(phys, uint64(at)+physOffset)
		switch {
		case errors.Is(err, ErrNone):
		case err != nil:
			damaged = fmt.Errorf("%w: at byte %d: %w", ErrDamaged, at, err)
		case newest == nil || l.TXG > newest.TXG:
			newest = &l
		}
	}
	switch {
	case newest != nil:
		return *newest, nil
	case damaged != nil:
		return Label{}, damaged
	}
	return Label{}, ErrNone
}

// parse reads a vdev_phys_t that lies at a byte of the device.
func parse(phys []byte, at uint64) (Label, error) {
	if err := verify(phys, at); err != nil {
		return Label{}, err
	}
	values, err := parseList(phys[:physBytes-eckBytes])
	if err != nil {
		return Label{}, err
	}
	l := Label{Name: values.strings["name"], PoolGUID: values.numbers["pool_guid"], GUID: values.numbers["guid"], TXG: values.numbers["txg"]}
	state, ok := values.numbers["state"]
	if !ok || l.GUID == 0 {
		return Label{}, errors.New("the list has no state, or no guid")
	}
	l.State = State(state)
	return l, nil
}

// verify checks the sum at the end (module/zfs/zio_checksum.c, zio_checksum_error_impl): it is SHA-256 over all, with the place on the device in the place
// of the sum, and its words are stored as the machine that wrote them has them. The list is in XDR in any case.
func verify(phys []byte, at uint64) error {
	eck := phys[physBytes-eckBytes:]
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
	h.Write(phys[:physBytes-len(verifier)])
	h.Write(verifier)
	sum := h.Sum(nil)
	for i := 0; i < len(sum); i += 8 {
		if order.Uint64(eck[8+i:]) != binary.BigEndian.Uint64(sum[i:]) {
			return errors.New("its checksum is wrong")
		}
	}
	return nil
}
