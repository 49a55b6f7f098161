package install

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Types of disks, as Selector.Type and Disk.Type have them.
const (
	SSD  = "ssd"
	HDD  = "hdd"
	NVMe = "nvme"
)

// ErrRequest is a request that cannot be understood.
var ErrRequest = errors.New("the request is not valid")

// Selector says which disk is meant. Every field that is not empty has to match. Texts are compared without regard to case; in all but Type and Bus,
// * stands for any text and ? for any one character.
type Selector struct {
	// Sizes are conditions such as ">=100GB" and "<=2TiB".
	Sizes []string
	Type  string
	Model string
	// Serial and WWN are the disk's own names.
	Serial, WWN string
	// Bus is how it is attached, such as nvme, ata, scsi, usb, virtio.
	Bus string
	// Path is where it is attached, which stays the same from boot to boot.
	Path string
}

// size is one condition.
type size struct {
	least bool // or at most
	bytes int64
}

// units are powers of ten and of two, by their names in lower case.
var units = map[string]int64{
	"": 1, "b": 1,
	"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
}

// parseSize reads a condition on a size.
func parseSize(text string) (size, error) {
	var s size
	rest, least := strings.CutPrefix(strings.TrimSpace(text), ">=")
	if !least {
		var most bool
		if rest, most = strings.CutPrefix(rest, "<="); !most {
			return s, fmt.Errorf("%w: size %.40q begins with neither >= nor <=, such as >=100GB", ErrRequest, text)
		}
	}
	rest = strings.TrimSpace(rest)
	digits := strings.TrimRight(rest, "BKMGTbkmgti ")
	n, err := strconv.ParseFloat(digits, 64)
	unit, known := units[strings.ToLower(strings.TrimSpace(rest[len(digits):]))]
	if err != nil || !known || n < 0 || n*float64(unit) > math.MaxInt64/2 || math.IsNaN(n) {
		return s, fmt.Errorf("%w: size %.40q is no number with one of B, kB, MB, GB, TB, KiB, MiB, GiB, TiB", ErrRequest, text)
	}
	return size{least: least, bytes: int64(n * float64(unit))}, nil
}

// check says what cannot be understood.
func (s Selector) check() error {
	if s.empty() {
		return fmt.Errorf("%w: nothing says which disk is meant; expected at least one of size, type, model, serial, wwn, bus and path", ErrRequest)
	}
	switch strings.ToLower(s.Type) {
	case "", SSD, HDD, NVMe:
	default:
		return fmt.Errorf("%w: type %.40q is none of %s, %s and %s", ErrRequest, s.Type, SSD, HDD, NVMe)
	}
	for _, text := range s.Sizes {
		if _, err := parseSize(text); err != nil {
			return err
		}
	}
	return nil
}

func (s Selector) empty() bool {
	return len(s.Sizes) == 0 && s.Type+s.Model+s.Serial+s.WWN+s.Bus+s.Path == ""
}

// String is the selector for a person.
func (s Selector) String() string {
	var words []string
	for _, text := range s.Sizes {
		words = append(words, "size"+text)
	}
	for _, f := range s.fields(Disk{}) {
		if f.want != "" {
			words = append(words, f.name+"="+f.want)
		}
	}
	return strings.Join(words, " ")
}

// field is one text of a selector, and what a disk has there.
type field struct {
	name, want, got string
	whole           bool // without patterns
}

func (s Selector) fields(d Disk) []field {
	return []field{
		{"type", s.Type, d.Type, true}, {"model", s.Model, d.Model, false}, {"serial", s.Serial, d.Serial, false},
		{"wwn", s.WWN, d.WWN, false}, {"bus", s.Bus, d.Bus, true}, {"path", s.Path, d.Path, false},
	}
}

// mismatches say why a disk is not the one that is meant; nothing if it is. The selector has been checked.
func (s Selector) mismatches(d Disk) []string {
	var out []string
	for _, text := range s.Sizes {
		c, _ := parseSize(text)
		if c.least && d.SizeBytes < c.bytes || !c.least && d.SizeBytes > c.bytes {
			out = append(out, fmt.Sprintf("its size of %s is not %s", sizeText(d.SizeBytes), text))
		}
	}
	for _, f := range s.fields(d) {
		switch {
		case f.want == "":
		case f.whole && strings.EqualFold(f.want, f.got), !f.whole && glob(strings.ToLower(f.want), strings.ToLower(f.got)):
		case f.got == "":
			out = append(out, fmt.Sprintf("it tells no %s", f.name))
		default:
			out = append(out, fmt.Sprintf("its %s %q is not %q", f.name, f.got, f.want))
		}
	}
	return out
}

// glob matches a text with a pattern of * and ?. Its time is the product of both lengths at most.
func glob(pattern, text string) bool {
	p, t := []rune(pattern), []rune(text)
	star, from, i := -1, 0, 0
	for j := 0; j < len(t); {
		switch {
		case i < len(p) && p[i] == '*':
			star, from = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == t[j]):
			i++
			j++
		case star >= 0:
			from++
			i, j = star+1, from
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}

// sizeText is a size as makers of disks count.
func sizeText(n int64) string {
	for _, u := range []string{"TB", "GB", "MB", "kB"} {
		if unit := units[strings.ToLower(u)]; n >= unit {
			return fmt.Sprintf("%.4g %s", float64(n)/float64(unit), u)
		}
	}
	return fmt.Sprintf("%d B", n)
}
