// Package recovery has the form in which a person keeps the key that opens a volume when nothing else does.
//
// A key is 256 random bits. It is written as 13 groups of five characters: digits and letters but for I, L, O and U, so that none is taken for
// another (Crockford's Base32). The last character of each group checks the other four and the group's place. So a mistyped key is refused at once and
// not after a disk has refused it, and the group is named in which the mistake is: any one character that is wrong, any two next to each other that are
// swapped, and any two groups that are swapped are found with certainty, anything else in 31 of 32 cases for each group.
//
//	7K4QD-0X2M9-...
//
// Case does not matter; I and L are read as 1, and O as 0. Between groups there may be dashes, blanks and line ends, or nothing.
package recovery

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"unicode"
)

// KeyBytes is the size of a key.
const KeyBytes = 32

const (
	groups = 13
	// dataSymbols of each group are the key's, and one checks them.
	dataSymbols  = 4
	groupSymbols = dataSymbols + 1
	symbolBits   = 5
)

const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// Key is a recovery key. It shows itself by Reveal only.
type Key struct{ bits [KeyBytes]byte }

// New returns a new key.
func New() Key {
	var k Key
	_, _ = rand.Read(k.bits[:]) // never fails: crypto/rand, since Go 1.24
	return k
}

// FromBytes returns the key of KeyBytes bytes.
func FromBytes(data []byte) (Key, error) {
	if len(data) != KeyBytes {
		return Key{}, fmt.Errorf("read recovery key: %d bytes, expected %d", len(data), KeyBytes)
	}
	return Key{[KeyBytes]byte(data)}, nil
}

// Bytes returns a copy of the key, for the volume.
func (k Key) Bytes() []byte { return append([]byte(nil), k.bits[:]...) }

// ID names the key, in 16 hexadecimal digits, and gives nothing of it away: two keys with one ID are not met by chance, and from it no key is found.
func (k Key) ID() string {
	sum := sha256.Sum256(append([]byte("cyvive recovery key\x00"), k.bits[:]...))
	return hex.EncodeToString(sum[:8])
}

// Reveal returns the text for a person: one line of 77 characters.
func (k Key) Reveal() string {
	// The four bits that 13 groups have left over check the whole.
	sum := sha256.Sum256(k.bits[:])
	stream := append(k.Bytes(), sum[0]&0xF0)
	var text strings.Builder
	for g := range groups {
		if g > 0 {
			text.WriteByte('-')
		}
		var symbols [dataSymbols]byte
		for i := range symbols {
			symbols[i] = symbolAt(stream, g*dataSymbols+i)
			text.WriteByte(alphabet[symbols[i]])
		}
		text.WriteByte(alphabet[check(g, symbols)])
	}
	return text.String()
}

// symbolAt returns the five bits at a place of a stream, the highest first.
func symbolAt(stream []byte, place int) byte {
	var s byte
	for b := range symbolBits {
		at := place*symbolBits + b
		s = s<<1 | stream[at/8]>>(7-at%8)&1
	}
	return s
}

// GroupError says which groups of a key are mistyped.
type GroupError struct {
	// Groups are their numbers, from 1.
	Groups []int
}

// Error names the groups and nothing of what they hold.
func (e *GroupError) Error() string {
	if len(e.Groups) == 1 {
		return fmt.Sprintf("group %d of %d is mistyped", e.Groups[0], groups)
	}
	var names []string
	for _, g := range e.Groups {
		names = append(names, fmt.Sprint(g))
	}
	return fmt.Sprintf("groups %s of %d are mistyped", strings.Join(names, ", "), groups)
}

// Parse reads what a person types. The error is a GroupError where it can be told which groups are wrong. Errors show nothing of the key.
func Parse(text string) (Key, error) {
	parts, err := split(text)
	if err != nil {
		return Key{}, fmt.Errorf("read recovery key: %w", err)
	}
	var stream [groups*dataSymbols*symbolBits/8 + 1]byte
	wrong := &GroupError{}
	for g, part := range parts {
		symbols, last, err := values(part)
		if err != nil {
			return Key{}, fmt.Errorf("read recovery key: group %d: %w", g+1, err)
		}
		if check(g, symbols) != last {
			wrong.Groups = append(wrong.Groups, g+1)
		}
		for i, s := range symbols {
			for b := range symbolBits {
				at := (g*dataSymbols+i)*symbolBits + b
				stream[at/8] |= s >> (symbolBits - 1 - b) & 1 << (7 - at%8)
			}
		}
	}
	if len(wrong.Groups) > 0 {
		return Key{}, fmt.Errorf("read recovery key: %w", wrong)
	}
	k := Key{[KeyBytes]byte(stream[:KeyBytes])}
	if sum := sha256.Sum256(k.bits[:]); sum[0]&0xF0 != stream[KeyBytes] {
		return Key{}, errors.New("read recovery key: each group is right by itself, and the whole is not: some group is of another key")
	}
	return k, nil
}

// split returns the groups, each with its number of characters.
func split(text string) ([]string, error) {
	parts := strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || r == '-' })
	if len(parts) == 1 {
		whole := []rune(parts[0])
		if len(whole) != groups*groupSymbols {
			return nil, fmt.Errorf("it has %d characters without a dash, expected %d groups of %d", len(whole), groups, groupSymbols)
		}
		parts = nil
		for g := range groups {
			parts = append(parts, string(whole[g*groupSymbols:(g+1)*groupSymbols]))
		}
	}
	for g, part := range parts {
		if n := len([]rune(part)); n != groupSymbols && g < groups {
			return nil, fmt.Errorf("group %d has %d characters, expected %d", g+1, n, groupSymbols)
		}
	}
	if len(parts) != groups {
		return nil, fmt.Errorf("it has %d groups, expected %d", len(parts), groups)
	}
	return parts, nil
}

// values returns the symbols of a group and the one that checks them.
func values(part string) (symbols [dataSymbols]byte, last byte, err error) {
	for i, r := range []rune(part) {
		switch r = unicode.ToUpper(r); r {
		case 'I', 'L':
			r = '1'
		case 'O':
			r = '0'
		}
		v := strings.IndexRune(alphabet, r)
		switch {
		case v < 0:
			return symbols, 0, fmt.Errorf("%q is not used in recovery keys", r)
		case i < dataSymbols:
			symbols[i] = byte(v)
		default:
			last = byte(v)
		}
	}
	return symbols, last, nil
}

// check returns the symbol that checks a group: the sum, in the field of 32 elements, of its number and of each symbol times a weight of its own. All
// weights differ and none is zero, nor is one the weight 1 that the check symbol has.
func check(group int, symbols [dataSymbols]byte) byte {
	sum := byte(group)
	for i, s := range symbols {
		sum ^= times(s, byte(i+2))
	}
	return sum
}

// times multiplies in the field of 32 elements, modulo x^5 + x^2 + 1.
func times(a, b byte) byte {
	var product byte
	for ; b > 0; b >>= 1 {
		if b&1 == 1 {
			product ^= a
		}
		a <<= 1
		if a&0x20 != 0 {
			a ^= 0x25
		}
	}
	return product
}

const redacted = "[redacted]"

// String returns a fixed text.
func (Key) String() string { return redacted }

// Format writes a fixed text for every verb.
func (Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue implements slog.LogValuer.
func (Key) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText keeps the key out of JSON and other text encodings.
func (Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }
