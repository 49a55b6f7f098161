package kernel

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
)

// ParseList reads a list of module names for arch, sorted: names separated by
// blanks, comments from # to the end of the line, and a last word @arch where
// the line is for one architecture only. A name that is there twice is an error,
// since one of its reasons is then likely to be wrong.
func ParseList(r io.Reader, arch string) ([]string, error) {
	var out []string
	seen := map[string]bool{}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		names, only, err := splitArch(strings.Fields(text))
		if err != nil {
			return nil, fmt.Errorf("read module list: line %d: %w", n, err)
		}
		for _, name := range names {
			if name != Name(name) || strings.HasPrefix(name, "@") {
				return nil, fmt.Errorf("read module list: line %d: %q is no module name: folders, suffixes and dashes are left out", n, name)
			}
			if seen[name] {
				return nil, fmt.Errorf("read module list: line %d: %s is there a second time", n, name)
			}
			seen[name] = true
			if only == "" || only == arch {
				out = append(out, name)
			}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read module list: %w", err)
	}
	slices.Sort(out)
	return out, nil
}

func splitArch(words []string) (names []string, only string, err error) {
	if len(words) == 0 {
		return nil, "", nil
	}
	last := len(words) - 1
	if only, ok := strings.CutPrefix(words[last], "@"); ok {
		if only != "amd64" && only != "arm64" {
			return nil, "", fmt.Errorf("architecture %q is neither amd64 nor arm64", only)
		}
		return words[:last], only, nil
	}
	return words, "", nil
}
