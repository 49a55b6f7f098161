package events

import (
	"strconv"
	"strings"
)

// text is a field that is a string, without its quotes. A state is printed as "ONLINE" (0x7).
func (e *Event) text(name string) string {
	v, quoted := strings.CutPrefix(e.Fields[name], `"`)
	if !quoted {
		return ""
	}
	if strings.HasSuffix(v, ")") {
		if i := strings.LastIndex(v, `" (0x`); i >= 0 {
			return v[:i]
		}
	}
	return strings.TrimSuffix(v, `"`)
}

// number is a field that is a number, 0x1f or 0x4 [scrub]; 0 if it is none.
func (e *Event) number(name string) uint64 {
	n := e.numbers(name)
	if len(n) == 0 {
		return 0
	}
	return n[0]
}

// numbers are those of an array.
func (e *Event) numbers(name string) []uint64 {
	var out []uint64
	for word := range strings.FieldsSeq(e.Fields[name]) {
		hex, ok := strings.CutPrefix(word, "0x")
		if !ok {
			break
		}
		n, err := strconv.ParseUint(hex, 16, 64)
		if err != nil {
			break
		}
		out = append(out, n)
	}
	return out
}
