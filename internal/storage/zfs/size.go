package zfs

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ParseSize reads a size in bytes as the programs do: a decimal number, and a suffix of BKMGTPEZ in powers of 1024, of which K, KB and KiB are the
// same in any case (zfs_nicestrtonum and str2shift in lib/libzfs/libzfs_util.c). A fraction is cut to whole bytes. Exponents, which the programs take
// behind a point, are not taken.
func ParseSize(s string) (uint64, error) {
	digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
	number := s[:digits]
	if rest, point := strings.CutPrefix(s[digits:], "."); point {
		digits += 1 + len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		number = s[:digits]
	}
	if number == "" || number == "." {
		return 0, invalid("size", s, 0, "a number, such as 512M, 10G or 1.5T")
	}
	shift, ok := suffixShift(s[digits:])
	if !ok {
		return 0, invalid("size", s, digits, "one of K, M, G, T, P and E, or nothing for bytes")
	}
	if strings.Contains(number, ".") {
		f, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return 0, tooLarge(s)
		}
		if f = math.Ldexp(f, shift); f >= 1<<64 {
			return 0, tooLarge(s)
		}
		return uint64(f), nil
	}
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || shift >= 64 || n<<shift>>shift != n {
		return 0, tooLarge(s)
	}
	return n << shift, nil
}

// suffixShift is the power of two of a suffix.
func suffixShift(suffix string) (shift int, ok bool) {
	if suffix == "" {
		return 0, true
	}
	upper := strings.ToUpper(suffix)
	i := strings.IndexByte("BKMGTPEZ", upper[0])
	if i < 0 {
		return 0, false
	}
	switch rest := upper[1:]; {
	case rest == "":
		return 10 * i, true
	case i > 0 && (rest == "B" || rest == "IB"):
		return 10 * i, true
	}
	return 0, false
}

func tooLarge(s string) error {
	return fmt.Errorf("size %.40q %w: it is more than 2^64-1 bytes", s, ErrInvalid)
}
