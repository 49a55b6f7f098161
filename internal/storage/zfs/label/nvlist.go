package label

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// list holds the numbers and words of a packed list, and the lists in it that are of vdevs; what is of another type is passed over.
type list struct {
	numbers map[string]uint64
	strings map[string]string
	lists   map[string][]list
}

// The names of lists in a list that are read: the top-level vdev that a device is in, and what a vdev is made of.
const (
	vdevTree     = "vdev_tree"
	vdevChildren = "children"
)

// Of a packed list (module/nvpair/nvpair.c): the encoding in its header, and the types of values (include/sys/nvpair.h, data_type_t).
const (
	encodingXDR    = 1
	headerBytes    = 12 // the header, version and flags
	innerBytes     = 8  // version and flags, with which a list in a list begins
	typeUint64     = 8
	typeString     = 9
	typeList       = 19
	typeListArray  = 20
	maxDepth       = 8 // a vdev is three deep at most: a device that is replaced, whose spare stands in, in a mirror
	maxNameBytes   = 256
	maxStringBytes = 4096
)

var errShort = errors.New("the list is cut off")

// parseList reads a list.
func parseList(b []byte) (list, error) {
	if len(b) < headerBytes {
		return list{}, errShort
	}
	if b[0] != encodingXDR {
		return list{}, fmt.Errorf("the list has encoding %d, expected %d (XDR)", b[0], encodingXDR)
	}
	out, _, err := parsePairs(b[headerBytes:], maxDepth)
	return out, err
}

// parsePairs reads the pairs of a list, with the lists in it down to a depth, and returns what comes behind it. Each pair begins with its whole length, and the last is
// followed by a length of zero.
func parsePairs(b []byte, depth int) (out list, rest []byte, err error) {
	out = list{map[string]uint64{}, map[string]string{}, map[string][]list{}}
	for {
		if len(b) < 8 {
			return out, nil, errShort
		}
		length := binary.BigEndian.Uint32(b)
		if length == 0 {
			return out, b[8:], nil
		}
		if length < 8 || uint64(length) > uint64(len(b)) {
			return out, nil, fmt.Errorf("a pair has the length %d: %w", length, errShort)
		}
		if err := out.add(b[8:length], depth); err != nil {
			return out, nil, err
		}
		b = b[length:]
	}
}

// add reads one pair behind its lengths: name, type, number of elements, value.
func (l list) add(b []byte, depth int) error {
	name, b, err := word(b, maxNameBytes)
	if err != nil {
		return fmt.Errorf("read a name: %w", err)
	}
	if len(b) < 8 {
		return fmt.Errorf("read %.40q: %w", name, errShort)
	}
	kind, count, b := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), b[8:]
	switch kind {
	case typeUint64:
		if len(b) < 8 {
			return fmt.Errorf("read %.40q: %w", name, errShort)
		}
		l.numbers[name] = binary.BigEndian.Uint64(b)
	case typeString:
		if l.strings[name], _, err = word(b, maxStringBytes); err != nil {
			return fmt.Errorf("read %.40q: %w", name, err)
		}
	case typeList, typeListArray:
		if name == vdevTree || name == vdevChildren {
			l.lists[name] = inner(b, count, depth)
		}
	}
	return nil
}

// inner reads lists that are the value of a pair (nvs_embedded_nvl_array). Where one cannot be read there are none: what else a label says counts without.
func inner(b []byte, count uint32, depth int) []list {
	var out []list
	for range count {
		if depth == 0 || len(b) < innerBytes {
			return nil
		}
		one, rest, err := parsePairs(b[innerBytes:], depth-1)
		if err != nil {
			return nil
		}
		out, b = append(out, one), rest
	}
	return out
}

// word reads a string (RFC 4506, 4.11): its length, and its bytes filled up to a multiple of four.
func word(b []byte, most uint32) (string, []byte, error) {
	if len(b) < 4 {
		return "", nil, errShort
	}
	length := binary.BigEndian.Uint32(b)
	b = b[4:]
	if length > most {
		return "", nil, fmt.Errorf("a string of %d bytes, expected %d at most", length, most)
	}
	padded := (length + 3) &^ 3
	if uint64(padded) > uint64(len(b)) {
		return "", nil, errShort
	}
	return string(b[:length]), b[padded:], nil
}
