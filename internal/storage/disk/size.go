package disk

import (
	"fmt"
	"math"
	"strings"

	"github.com/cyvive/cyvive/internal/size"
)

// sizes is the grammar of sizes as they are printed on disks, in powers of 1000; those of 1024 have names of their own.
var sizes = size.Grammar{
	Units: map[string]uint64{
		"": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
	},
	AnyCase: true, Fraction: true, Space: true, MaxBytes: math.MaxInt64,
	Number: "a number, such as 100GB or 1.5TiB", Suffix: "one of B, kB, MB, GB, TB, KiB, MiB, GiB and TiB",
}

// limit is one condition on the size of a disk: that it is at least so many bytes, or at most.
type limit struct {
	least bool
	bytes int64
}

// parseLimit reads a condition. Its errors are ErrSelector.
func parseLimit(text string) (limit, error) {
	rest, least := strings.CutPrefix(strings.TrimSpace(text), ">=")
	if !least {
		var most bool
		if rest, most = strings.CutPrefix(rest, "<="); !most {
			return limit{}, fmt.Errorf("%w: size %.40q begins with neither >= nor <=, such as >=100GB", ErrSelector, text)
		}
	}
	rest = strings.TrimSpace(rest)
	n, err := sizes.Parse(rest)
	if err != nil {
		return limit{}, fmt.Errorf("%w: size %.40q: %w", ErrSelector, rest, err)
	}
	return limit{least: least, bytes: int64(n)}, nil
}

// SizeText is a size as makers of disks count, to four digits.
func SizeText(n int64) string {
	for _, u := range []string{"TB", "GB", "MB", "kB"} {
		if unit := int64(sizes.Units[strings.ToLower(u)]); n >= unit {
			return fmt.Sprintf("%.4g %s", float64(n)/float64(unit), u)
		}
	}
	return fmt.Sprintf("%d B", n)
}
