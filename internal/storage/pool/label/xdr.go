package label

import (
	"encoding/binary"
	"errors"
)

// Types of values (data_type_t in include/sys/nvpair.h).
const (
	typeUint64 = 8
	typeString = 9
)

// value is one of a list: a number or a text.
type value struct {
	number uint64
	text   string
}

// values are those of a list by their names. Embedded lists, arrays and other types are left out.
type values map[string]value

func (v values) number(name string) uint64 { return v[name].number }
func (v values) text(name string) string   { return v[name].text }

var errList = errors.New("no list of names and values")

// parseList reads a list: a byte for the encoding (1 is XDR), one for the order of the machine's bytes, two of zeros, version and flags; then pairs, each of which says
// how long it is; then eight zeros. XDR has the highest byte first, and all in multiples of four.
func parseList(data []byte) (values, error) {
	if len(data) < 12 || data[0] != 1 || data[1] > 1 || binary.BigEndian.Uint32(data[4:]) != 0 {
		return nil, errList
	}
	out := values{}
	for at := 12; ; {
		if len(data)-at < 8 {
			return nil, errList
		}
		size := int(binary.BigEndian.Uint32(data[at:]))
		if size == 0 {
			return out, nil
		}
		if size < 20 || size%4 != 0 || size > len(data)-at {
			return nil, errList
		}
		if err := out.pair(data[at+8 : at+size]); err != nil {
			return nil, err
		}
		at += size
	}
}

// pair reads one pair behind its sizes.
func (v values) pair(data []byte) error {
	name, rest, ok := takeText(data)
	if !ok || len(rest) < 8 {
		return errList
	}
	kind, count := binary.BigEndian.Uint32(rest), binary.BigEndian.Uint32(rest[4:])
	rest = rest[8:]
	switch {
	case kind == typeUint64 && count == 1:
		if len(rest) < 8 {
			return errList
		}
		v[name] = value{number: binary.BigEndian.Uint64(rest)}
	case kind == typeString && count == 1:
		text, _, ok := takeText(rest)
		if !ok {
			return errList
		}
		v[name] = value{text: text}
	}
	return nil
}

// takeText reads a text: its length, and its bytes filled up to a multiple of four.
func takeText(data []byte) (text string, rest []byte, ok bool) {
	if len(data) < 4 {
		return "", nil, false
	}
	n := int(binary.BigEndian.Uint32(data))
	padded := (n + 3) &^ 3
	if n < 0 || n > len(data)-4 || padded > len(data)-4 {
		return "", nil, false
	}
	return string(data[4 : 4+n]), data[4+padded:], true
}
