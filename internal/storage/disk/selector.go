package disk

import (
	"errors"
	"fmt"
	"strings"
)

// ErrSelector is a selector that cannot be understood.
var ErrSelector = errors.New("the selector of a disk is not valid")

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

// Check says what of a selector cannot be understood; the error is ErrSelector.
func (s Selector) Check() error {
	if s.empty() {
		return fmt.Errorf("%w: nothing says which disk is meant; expected at least one of size, type, model, serial, wwn, bus and path", ErrSelector)
	}
	switch strings.ToLower(s.Type) {
	case "", SSD, HDD, NVMe:
	default:
		return fmt.Errorf("%w: type %.40q is none of %s, %s and %s", ErrSelector, s.Type, SSD, HDD, NVMe)
	}
	for _, text := range s.Sizes {
		if _, err := parseLimit(text); err != nil {
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
	for _, f := range s.fields(Identity{}) {
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

func (s Selector) fields(d Identity) []field {
	return []field{
		{"type", s.Type, d.Type, true}, {"model", s.Model, d.Model, false}, {"serial", s.Serial, d.Serial, false},
		{"wwn", s.WWN, d.WWN, false}, {"bus", s.Bus, d.Bus, true}, {"path", s.Path, d.Path, false},
	}
}

// Mismatches say why a disk is not the one that is meant; nothing if it is. The selector has been checked.
func (s Selector) Mismatches(d Identity) []string {
	var out []string
	for _, text := range s.Sizes {
		l, _ := parseLimit(text)
		if l.least && d.SizeBytes < l.bytes || !l.least && d.SizeBytes > l.bytes {
			out = append(out, fmt.Sprintf("its size of %s is not %s", SizeText(d.SizeBytes), text))
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
