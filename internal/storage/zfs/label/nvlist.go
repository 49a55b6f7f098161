package label

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// list holds the numbers and words of a packed list; what is of another type is passed over.
type list struct {
	numbers map[string]uint64
	strings map[string]string
}

// Of a packed list (module/nvpair/nvpair.c): the encoding in its header, and the types of values (include/sys/nvpair.h, data_type_t).
const (
	encodingXDR    = 1
	headerBytes    = 12 // the header, version and flags
	typeUint64     = 8
	typeString     = 9
	maxNameBytes   = 256
	maxStringBytes = 4096
)

var errShort = errors.New("the list is cut off")

// parseList reads a list. Each of its pairs begins with its whole length, and the last is followed by a length of zero.
func parseList(b []byte) (list, error) {
	out := list{map[string]uint64{}, map[string]string{}}
	if len(b) < headerBytes {
		return out, errShort
	}
	if b[0] != encodingXDR {
		return out, fmt.Errorf("the list has encoding %d, expected %d (XDR)", b[0], encodingXDR)
	}
	b = b[headerBytes:]
	for {
		if len(b) < 8 {
			return out, errShort
		}
		length := binary.BigEndian.Uint32(b)
		if length == 0 {
			return out, nil
		}
		if length < 8 || uint64(length) > uint64(len(b)) {
			return out, fmt.Errorf("a pair has the length %d: %w", length, errShort)
		}
		if err := out.add(b[8:length]); err != nil {
			return out, err
		}
		b = b[length:]
	}
}

// add reads one pair behind its lengths: name, type, number of elements, value.
func (l list) add(b []byte) error {
	name, b, err := word(b, maxNameBytes)
	if err != nil {
		return fmt.Errorf("read a name: %w", err)
	}
	if len(b) < 8 {
		return fmt.Errorf("read %.40q: %w", name, errShort)
	}
	kind, b := binary.BigEndian.Uint32(b), b[8:]
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
	}
	return nil
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
