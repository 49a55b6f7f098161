package erofs

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Golden is the reviewed list of an image: one line for each path, tab-separated:
// kind, mode, owner:group, size, path, and the target of links. The size is a
// number where pinned inputs decide it, and "<" and a limit for what changes
// with this repository or with Go.
type Golden []string

// Limits says whether the size of an entry gets a limit in place of a number.
type Limits func(Entry) bool

// NewGolden makes the list of entries.
func NewGolden(entries []Entry, limited Limits) Golden {
	out := make(Golden, 0, len(entries))
	for _, e := range entries {
		size := "-"
		if e.Kind == "f" {
			size = strconv.FormatInt(e.Size, 10)
			if limited(e) {
				size = "<" + strconv.FormatInt(limit(e.Size), 10)
			}
		}
		out = append(out, line(e, size))
	}
	return out
}

func line(e Entry, size string) string {
	return fmt.Sprintf("%s\t%04o\t%d:%d\t%s\t%s\t%s", e.Kind, e.Mode, e.UID, e.GID, size, e.Path, e.Target)
}

// limit leaves a file room for everyday changes: one to two times 2 MiB, or
// 64 KiB for what is smaller than a MiB.
func limit(size int64) int64 {
	const mib = 1 << 20
	unit := int64(2 * mib)
	if size < mib {
		unit = 64 << 10
	}
	return (size/unit + 2) * unit
}

// ReadGolden reads what String wrote.
func ReadGolden(r io.Reader) (Golden, error) {
	var g Golden
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		g = append(g, strings.TrimRight(lines.Text(), "\r"))
	}
	return g, lines.Err()
}

// String is the list as a file.
func (g Golden) String() string { return strings.Join(g, "\n") + "\n" }

// Compare returns one line for each difference: "-" for what the list has and
// the image has not, "+" for the other way round. A size below its limit is none.
func (g Golden) Compare(entries []Entry) []string {
	want := map[string]string{}
	for _, l := range g {
		if f := strings.Split(l, "\t"); len(f) == 6 {
			want[f[4]] = l
		}
	}
	var out []string
	for _, e := range entries {
		l, ok := want[e.Path]
		delete(want, e.Path)
		got := line(e, sizeLike(l, e))
		if ok && l != got {
			out = append(out, "- "+l)
		}
		if l != got {
			out = append(out, "+ "+got)
		}
	}
	for _, l := range g { // in the order of the list
		if f := strings.Split(l, "\t"); len(f) != 6 || want[f[4]] != "" {
			out = append(out, "- "+l)
		}
	}
	return out
}

// sizeLike writes the size of e as the line does, if it keeps the line's limit.
func sizeLike(line string, e Entry) string {
	if e.Kind != "f" {
		return "-"
	}
	f := strings.Split(line, "\t")
	if len(f) == 6 && strings.HasPrefix(f[3], "<") {
		if most, err := strconv.ParseInt(f[3][1:], 10, 64); err == nil && e.Size < most {
			return f[3]
		}
	}
	return strconv.FormatInt(e.Size, 10)
}
