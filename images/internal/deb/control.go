package deb

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// Paragraph is one block of fields. Continuation lines keep their line
// breaks and lose their leading space.
type Paragraph map[string]string

// maxControlLine bounds a line of a control file; the longest of the archive
// (Provides of some packages) have a few hundred kilobytes.
const maxControlLine = 8 << 20

// ReadParagraphs calls visit for every paragraph of a control file, an apt
// index or a deb822 source list. Comment lines are left out.
func ReadParagraphs(r io.Reader, visit func(Paragraph) error) error {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 64<<10), maxControlLine)
	p, last, line := Paragraph{}, "", 0
	flush := func() error {
		if len(p) == 0 {
			return nil
		}
		done := p
		p, last = Paragraph{}, ""
		return visit(done)
	}
	for s.Scan() {
		line++
		text := s.Text()
		switch {
		case strings.TrimSpace(text) == "":
			if err := flush(); err != nil {
				return err
			}
		case text[0] == '#':
		case text[0] == ' ' || text[0] == '\t':
			if last == "" {
				return fmt.Errorf("read control file: line %d continues no field", line)
			}
			p[last] += "\n" + strings.TrimSpace(text)
		default:
			name, value, ok := strings.Cut(text, ":")
			if !ok || name == "" {
				return fmt.Errorf("read control file: line %d: got %q, expected \"Name: value\"", line, text)
			}
			last = name
			p[last] = strings.TrimSpace(value)
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("read control file: %w", err)
	}
	return flush()
}
