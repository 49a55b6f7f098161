package kmod

// match reports whether s matches a pattern of modules.alias: '*', '?', sets
// such as [0-9a], and all else literally, as fnmatch(3) without flags. '-' and
// '_' are the same, outside sets. A set without end matches nothing.
func match(pattern, s string) bool {
	// star is where to go on after a mismatch: the pattern behind the last
	// '*', and the text it was tried on.
	starPattern, starText := -1, 0
	p, t := 0, 0
	for t < len(s) {
		if p < len(pattern) && pattern[p] == '*' {
			p++
			starPattern, starText = p, t
			continue
		}
		if n := matchOne(pattern[p:], s[t]); n > 0 {
			p += n
			t++
			continue
		}
		if starPattern < 0 {
			return false
		}
		starText++
		p, t = starPattern, starText
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// matchOne returns how much of the pattern matches c, 0 when it does not.
func matchOne(pattern string, c byte) int {
	if pattern == "" {
		return 0
	}
	switch pattern[0] {
	case '?':
		return 1
	case '[':
		return matchSet(pattern, c)
	}
	if fold(pattern[0]) == fold(c) {
		return 1
	}
	return 0
}

func matchSet(pattern string, c byte) int {
	in := false
	for i := 1; i < len(pattern); i++ {
		lo := pattern[i]
		if lo == ']' && i > 1 {
			if in {
				return i + 1
			}
			return 0
		}
		hi := lo
		if i+2 < len(pattern) && pattern[i+1] == '-' && pattern[i+2] != ']' {
			hi = pattern[i+2]
			i += 2
		}
		in = in || lo <= c && c <= hi
	}
	return 0
}

func fold(c byte) byte {
	if c == '-' {
		return '_'
	}
	return c
}
