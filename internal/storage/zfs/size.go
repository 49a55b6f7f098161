package zfs

import (
	"fmt"
	"math"

	"github.com/cyvive/cyvive/internal/size"
)

// sizes is the grammar of the programs: a decimal number, and a suffix in powers of 1024, of which K, KB and KiB are the same in any case
// (zfs_nicestrtonum and str2shift in lib/libzfs/libzfs_util.c). Two things that they take beside are not taken: exponents behind a point, and Z, of
// which there is no whole one.
var sizes = size.Grammar{
	Units: units(), AnyCase: true, Fraction: true, MaxBytes: math.MaxUint64,
	Number: "a number, such as 512M, 10G or 1.5T", Suffix: "one of K, M, G, T, P and E, or nothing for bytes",
}

func units() map[string]uint64 {
	all := map[string]uint64{"": 1, "b": 1}
	for i, letter := range []string{"k", "m", "g", "t", "p", "e"} {
		bytes := uint64(1) << (10 * (i + 1))
		all[letter], all[letter+"b"], all[letter+"ib"] = bytes, bytes, bytes
	}
	return all
}

// parseSize reads a size in bytes as the programs do.
func parseSize(s string) (uint64, error) {
	n, err := sizes.Parse(s)
	if err != nil {
		return 0, fmt.Errorf("size %.40q %w: %w", s, ErrInvalid, err)
	}
	return n, nil
}
