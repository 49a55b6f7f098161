package deb

import "strings"

// CompareVersions orders two package versions by the rules of
// deb-version(7): negative when a is older than b, zero when equal.
func CompareVersions(a, b string) int {
	ea, ua, ra := splitVersion(a)
	eb, ub, rb := splitVersion(b)
	if c := comparePart(ea, eb); c != 0 {
		return c
	}
	if c := comparePart(ua, ub); c != 0 {
		return c
	}
	return comparePart(ra, rb)
}

func splitVersion(v string) (epoch, upstream, revision string) {
	if e, rest, ok := strings.Cut(v, ":"); ok {
		epoch, v = e, rest
	}
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		return epoch, v[:i], v[i+1:]
	}
	return epoch, v, ""
}

// comparePart compares alternating runs of non-digits and digits.
func comparePart(a, b string) int {
	for a != "" || b != "" {
		var ta, tb string
		ta, a = cutWhile(a, false)
		tb, b = cutWhile(b, false)
		if c := compareText(ta, tb); c != 0 {
			return c
		}
		ta, a = cutWhile(a, true)
		tb, b = cutWhile(b, true)
		ta, tb = strings.TrimLeft(ta, "0"), strings.TrimLeft(tb, "0")
		if len(ta) != len(tb) {
			return len(ta) - len(tb)
		}
		if c := strings.Compare(ta, tb); c != 0 {
			return c
		}
	}
	return 0
}

func cutWhile(s string, digits bool) (head, rest string) {
	i := 0
	for i < len(s) && (s[i] >= '0' && s[i] <= '9') == digits {
		i++
	}
	return s[:i], s[i:]
}

func compareText(a, b string) int {
	for i := 0; i < len(a) || i < len(b); i++ {
		if c := charOrder(a, i) - charOrder(b, i); c != 0 {
			return c
		}
	}
	return 0
}

// charOrder is the sort value of s[i]: a tilde comes before the end of the
// string, letters after it, and everything else behind the letters.
func charOrder(s string, i int) int {
	switch {
	case i >= len(s):
		return 0
	case s[i] == '~':
		return -1
	case s[i] >= 'A' && s[i] <= 'Z', s[i] >= 'a' && s[i] <= 'z':
		return int(s[i])
	}
	return int(s[i]) + 256
}
