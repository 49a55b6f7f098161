package label

// ParseList reads a packed list, and returns how many numbers it has.
func ParseList(b []byte) (numbers int, err error) {
	l, err := parseList(b)
	return len(l.numbers), err
}
