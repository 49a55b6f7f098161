// Package size reads sizes in bytes that people write, and writes them. It imports nothing of the project, so that all who have sizes can use it.
//
// There is one parser, and three grammars that are not the same, each where it belongs:
//
//   - documents (package machined/config) have [Binary], in which there is one way to write each size, that cannot be misread;
//   - disks are chosen by sizes as they are printed on them, in powers of 1000, or of 1024 by the names for those (package storage/disk);
//   - ZFS takes K, KB and KiB alike for 1024, in any case (package storage/zfs).
package size

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// Grammar says which texts are sizes.
type Grammar struct {
	// Units are the suffixes and how many bytes each stands for, the empty one among them.
	Units map[string]uint64
	// AnyCase takes suffixes in capitals too; Units has them in small letters.
	AnyCase bool
	// Fraction takes a decimal point, and cuts off what is no whole byte.
	Fraction bool
	// Space takes spaces before a suffix.
	Space bool
	// MaxBytes is the largest size.
	MaxBytes uint64
	// Number and Suffix are what is expected, for a mistake: such as "a number, such as 10G" and "one of K, M and G".
	Number, Suffix string
}

// binaryUnits are powers of 1024 (IEC 80000-13), the smallest first.
var binaryUnits = []string{"", "KiB", "MiB", "GiB", "TiB", "PiB"}

// Binary is the grammar of what [Text] writes: a whole number of bytes, or of KiB to PiB.
func Binary() Grammar {
	g := Grammar{
		Units: map[string]uint64{}, MaxBytes: math.MaxInt64,
		Number: "a whole number, such as 10GiB", Suffix: "one of KiB, MiB, GiB, TiB and PiB, or nothing for bytes",
	}
	for i, unit := range binaryUnits {
		g.Units[unit] = 1 << (10 * i)
	}
	return g
}

// Text is exact, in the largest unit that it is a multiple of.
func Text(bytes uint64) string {
	i := 0
	for ; bytes != 0 && bytes%1024 == 0 && i < len(binaryUnits)-1; i++ {
		bytes /= 1024
	}
	return strconv.FormatUint(bytes, 10) + binaryUnits[i]
}

// Parse returns a size in bytes. The error says what is wrong at which byte of the text, and what was expected; the text is for the caller to name.
func (g Grammar) Parse(text string) (bytes uint64, err error) {
	end := digits(text)
	if g.Fraction && strings.HasPrefix(text[end:], ".") {
		end += 1 + digits(text[end+1:])
	}
	number := text[:end]
	if strings.Trim(number, ".") == "" {
		return 0, unexpected(text, 0, g.Number)
	}
	if g.Space {
		end = len(text) - len(strings.TrimLeft(text[end:], " "))
	}
	suffix := text[end:]
	if g.AnyCase {
		suffix = small(suffix)
	}
	unit, ok := g.Units[suffix]
	if !ok {
		return 0, unexpected(text, end, g.Suffix)
	}
	if bytes, ok = product(number, unit); !ok || bytes > g.MaxBytes {
		return 0, fmt.Errorf("it is more than %d bytes", g.MaxBytes)
	}
	return bytes, nil
}

// digits is how many a text begins with.
func digits(text string) int { return len(text) - len(strings.TrimLeft(text, "0123456789")) }

// small has the letters of ASCII small, and leaves others: there are some that strings.ToLower makes ASCII of.
func small(text string) string {
	b := []byte(text)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c - 'A' + 'a'
		}
	}
	return string(b)
}

// product is a decimal number times a unit, and false if that has more than 64 bits. Whole numbers are exact.
func product(number string, unit uint64) (uint64, bool) {
	if strings.Contains(number, ".") {
		f, err := strconv.ParseFloat(number, 64)
		f *= float64(unit)
		if err != nil || f >= 1<<64 {
			return 0, false
		}
		return uint64(f), true
	}
	n, err := strconv.ParseUint(number, 10, 64)
	high, low := bits.Mul64(n, unit)
	return low, err == nil && high == 0
}

// unexpected says what a text has at a byte, counted from 0, and what was expected there.
func unexpected(text string, at int, expected string) error {
	found := "nothing"
	if at < len(text) {
		found = fmt.Sprintf("%q", text[at:at+1])
	}
	return fmt.Errorf("it has %s at byte %d, expected %s", found, at+1, expected)
}
