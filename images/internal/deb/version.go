package deb

import (
	"fmt"

	debversion "pault.ag/go/debian/version"
)

// CompareVersions orders two package versions by the rules of
// deb-version(7): negative when a is older than b, zero when equal. What is
// no version is an error.
func CompareVersions(a, b string) (int, error) {
	var parsed [2]debversion.Version
	for i, text := range []string{a, b} {
		v, err := debversion.Parse(text)
		if err != nil {
			return 0, fmt.Errorf("read version %q: %w", text, err)
		}
		parsed[i] = v
	}
	return debversion.Compare(parsed[0], parsed[1]), nil
}
