package support

import (
	"fmt"
	"strings"
)

// Lines keeps the end of a text of lines. It is not safe for concurrent use.
type Lines struct {
	// MaxBytes is how much is kept; of a line that is longer, the beginning.
	MaxBytes int

	kept    []string
	bytes   int
	dropped int
}

// Add appends a line, which has no newline.
func (l *Lines) Add(line string) {
	if len(line)+1 > l.MaxBytes {
		line = strings.ToValidUTF8(line[:max(0, l.MaxBytes-1)], "")
		l.dropped++
	}
	l.kept = append(l.kept, line)
	l.bytes += len(line) + 1
	for l.bytes > l.MaxBytes && len(l.kept) > 1 {
		l.bytes -= len(l.kept[0]) + 1
		l.kept[0] = "" // the slice keeps it otherwise
		l.kept = l.kept[1:]
		l.dropped++
	}
}

// Text is what is kept, and how many lines are missing or cut off.
func (l *Lines) Text() (text string, dropped int) {
	if len(l.kept) == 0 {
		return "", l.dropped
	}
	return strings.Join(l.kept, "\n") + "\n", l.dropped
}

// maxNameBytes is more than the name of a service or address has.
const maxNameBytes = 100

// FileName makes a plain name of a file of a text that a node decides: without folders,
// and with nothing that a shell or a file system would take for something else.
func FileName(text string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		default:
			return '-'
		}
	}, text)
	name = strings.TrimLeft(name[:min(len(name), maxNameBytes)], ".-")
	if name == "" {
		return "unnamed"
	}
	return name
}

// Unique returns a name that is not in taken, and puts it there.
func Unique(taken map[string]bool, name string) string {
	free := name
	for n := 2; taken[free]; n++ {
		free = fmt.Sprintf("%s-%d", name, n)
	}
	taken[free] = true
	return free
}
