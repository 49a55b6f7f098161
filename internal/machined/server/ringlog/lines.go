package ringlog

import (
	"bytes"
	"slices"
)

// maxLineBytes bounds one line; a longer one is cut into several.
const maxLineBytes = 64 << 10

// splitter is an io.Writer that hands on complete lines.
type splitter struct {
	emit    func(line []byte) error
	partial []byte // begun and not ended, at most maxLineBytes
}

// Write implements io.Writer. It returns emit's first error as it is.
func (s *splitter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		room := maxLineBytes - len(s.partial)
		end := bytes.IndexByte(rest[:min(len(rest), room+1)], '\n')
		switch {
		case end >= 0:
			s.partial = append(s.partial, rest[:end]...)
			rest = rest[end+1:]
		case len(rest) <= room:
			s.partial = append(s.partial, rest...)
			return len(p), nil
		default:
			s.partial = append(s.partial, rest[:room]...)
			rest = rest[room:]
		}
		if err := s.emit(s.partial); err != nil {
			return len(p) - len(rest), err
		}
		s.partial = s.partial[:0]
	}
	return len(p), nil
}

// flush hands on a line that has no newline yet.
func (s *splitter) flush() error {
	if len(s.partial) == 0 {
		return nil
	}
	line := s.partial
	s.partial = nil
	return s.emit(line)
}

// lastLines keeps the newest lines. It never holds more than twice as many as
// it keeps, and none beforehand: max comes from a caller.
type lastLines struct {
	max   int
	lines [][]byte
}

func (l *lastLines) add(line []byte) error {
	if l.max <= 0 {
		return nil
	}
	if len(l.lines)/2 >= l.max {
		l.lines = slices.Delete(l.lines, 0, len(l.lines)-l.max)
	}
	l.lines = append(l.lines, bytes.Clone(line))
	return nil
}

func (l *lastLines) each(emit func([]byte) error) error {
	for _, line := range l.lines[max(0, len(l.lines)-max(0, l.max)):] {
		if err := emit(line); err != nil {
			return err
		}
	}
	return nil
}
