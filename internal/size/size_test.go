package size_test

import (
	"math"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/internal/size"
)

// loose is a grammar that takes all that there is.
func loose() size.Grammar {
	return size.Grammar{
		Units:   map[string]uint64{"": 1, "b": 1, "k": 1 << 10, "kb": 1000, "kib": 1 << 10, "e": 1 << 60},
		AnyCase: true, Fraction: true, Space: true, MaxBytes: math.MaxUint64, Number: "a number, such as 1K", Suffix: "one of B, K, kB, KiB and E",
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]uint64{
		"0": 0, "007": 7, "12b": 12, "12 B": 12, "12 ": 12, "1K": 1024, "1k": 1024, "1KB": 1000, "1kib": 1024, "2   KIB": 2048, "1.5k": 1536, ".5k": 512, "2.k": 2048,
		"0.1k": 102, "15E": 15 << 60, "15.5e": 31 << 59, "18446744073709551615": math.MaxUint64,
	} {
		if got, err := loose().Parse(text); err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
}

// TestMistakes: each error says what is wrong, where, and what was expected.
func TestMistakes(t *testing.T) {
	const suffix = "expected one of B, K, kB, KiB and E"
	for text, want := range map[string]string{
		"":                              "it has nothing at byte 1, expected a number, such as 1K",
		".":                             `it has "." at byte 1, expected a number, such as 1K`,
		"K":                             `it has "K" at byte 1, expected a number`,
		"-1":                            `it has "-" at byte 1, expected a number`,
		"+1":                            `it has "+" at byte 1, expected a number`,
		" 1":                            `it has " " at byte 1, expected a number`,
		"NaN":                           `it has "N" at byte 1, expected a number`,
		"10X":                           `it has "X" at byte 3, ` + suffix,
		"10  X":                         `it has "X" at byte 5, ` + suffix,
		"1KK":                           `it has "K" at byte 2, ` + suffix,
		"1k ":                           `it has "k" at byte 2, ` + suffix,
		"1e3":                           `it has "e" at byte 2, ` + suffix,
		"0x10":                          `it has "x" at byte 2, ` + suffix,
		"1_0":                           `it has "_" at byte 2, ` + suffix,
		"1,5K":                          `it has "," at byte 2, ` + suffix,
		"1.2.3":                         `it has "." at byte 4, ` + suffix,
		"1\u212a":                       `it has "\xe2" at byte 2, ` + suffix, // the sign of kelvin
		"1\x00":                         `it has "\x00" at byte 2, ` + suffix,
		"16E":                           "it is more than 18446744073709551615 bytes",
		"16.0E":                         "it is more than 18446744073709551615 bytes",
		"18446744073709551616":          "it is more than 18446744073709551615 bytes",
		strings.Repeat("9", 400) + ".1": "it is more than 18446744073709551615 bytes",
	} {
		_, err := loose().Parse(text)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.40q: got %v, want %q", text, err, want)
		}
	}
}

// TestBinary: what is written is read as the same, and there is one way to write it but for zeros in front.
func TestBinary(t *testing.T) {
	g := size.Binary()
	for text, bytes := range map[string]uint64{
		"0": 0, "1": 1, "1023": 1023, "1KiB": 1024, "1025": 1025, "1536KiB": 3 << 19, "10GiB": 10 << 30, "3TiB": 3 << 40, "1PiB": 1 << 50,
		"8191PiB": 8191 << 50, "9223372036854775807": math.MaxInt64,
	} {
		if got := size.Text(bytes); got != text {
			t.Errorf("%d is written as %q, want %q", bytes, got, text)
		}
		if got, err := g.Parse(text); err != nil || got != bytes {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, bytes)
		}
	}
	for text, want := range map[string]string{
		"1K": "expected one of KiB, MiB, GiB, TiB and PiB", "1GB": "expected one of KiB", "1 GiB": `it has " " at byte 2`, "1.5GiB": `it has "." at byte 2`,
		"1gib": `it has "g" at byte 2`, "8192PiB": "it is more than 9223372036854775807 bytes", "": "expected a whole number, such as 10GiB",
	} {
		if _, err := g.Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("10GiB")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := size.Binary().Parse(text)
		lenient, looseErr := loose().Parse(text)
		if err == nil {
			written := size.Text(n)
			if again, err := size.Binary().Parse(written); err != nil || again != n {
				t.Errorf("%q is %d, is written as %q, and that is %d, %v", text, n, written, again, err)
			}
			if strings.Trim(text, "0123456789") == "" && lenient != n {
				t.Errorf("%q is %d or %d", text, n, lenient)
			}
		}
		for _, err := range []error{err, looseErr} {
			if err != nil && len(err.Error()) > 200 {
				t.Errorf("%q: an error of %d bytes", text, len(err.Error()))
			}
		}
		if looseErr == nil && (strings.Trim(text, "0123456789. bkieBKIE") != "" || strings.Trim(text, "bkieBKIE. ") == "") {
			t.Errorf("%q passes as %d", text, lenient)
		}
	})
}
