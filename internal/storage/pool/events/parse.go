package events

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// Limits of what is kept.
const (
	maxLineBytes  = 64 << 10
	maxFields     = 256
	maxValueBytes = 4 << 10
	maxNesting    = 8
)

// Parser reads events from a stream.
type Parser struct {
	in *bufio.Reader
	// next is a line that was read and belongs to the next event.
	next string
	// err is what the stream has ended with.
	err error
}

// NewParser returns a parser of a stream.
func NewParser(r io.Reader) *Parser {
	return &Parser{in: bufio.NewReaderSize(r, maxLineBytes)}
}

// header is the first line of an event (zpool_do_events_short with -H): a time by the local clock, which the payload has too, a tab, and the class.
var header = regexp.MustCompile(`^[A-Z][a-z]{2} [ 0-9][0-9] [0-9]{4} [0-9:]{8}\.[0-9]{9}\t([a-z_.]{1,128})$`)

// lost is what zpool_do_events_next prints.
var lost = regexp.MustCompile(`^dropped ([0-9]{1,19}) events$`)

// line returns the next line without its end. One that is too long is cut.
func (p *Parser) line() (string, error) {
	if p.next != "" {
		line := p.next
		p.next = ""
		return line, nil
	}
	if p.err != nil {
		return "", p.err
	}
	data, err := p.in.ReadSlice('\n')
	line := strings.TrimRight(string(data), "\n")
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = p.in.ReadSlice('\n')
	}
	if err != nil {
		p.err = err
		if line == "" {
			return "", err
		}
	}
	return line, nil
}

// Next returns the next event. It is io.EOF at the end of the stream, and the last event goes before that.
func (p *Parser) Next() (Event, error) {
	for {
		line, err := p.line()
		if err != nil {
			return Event{}, err
		}
		if m := lost.FindStringSubmatch(line); m != nil {
			n, err := strconv.ParseUint(m[1], 10, 64)
			if err != nil {
				return Event{}, fmt.Errorf("read events: %q: %w", line, err)
			}
			return Event{Class: Dropped, Lost: n}, nil
		}
		if m := header.FindStringSubmatch(line); m != nil {
			return p.event(Class(m[1]))
		}
	}
}

// event reads the payload of an event, to the empty line after it. The event's number is its last field (zfs_zevent_post in module/zfs/fm.c), so an empty line before that,
// as one comes behind an array of lists, does not end it.
func (p *Parser) event(class Class) (Event, error) {
	e := Event{Class: class, Fields: map[string]string{}}
	var stack []string
	for {
		line, err := p.line()
		if err != nil {
			break
		}
		if line == "" {
			if _, numbered := e.Fields["eid"]; numbered {
				break
			}
			continue
		}
		if header.MatchString(line) || lost.MatchString(line) {
			p.next = line
			break
		}
		stack = e.field(strings.TrimSpace(line), stack)
	}
	e.fill()
	return e, nil
}

// field takes one line of a payload. Stack are the names of the lists that it is in.
func (e *Event) field(line string, stack []string) []string {
	if strings.HasPrefix(line, "(end ") {
		if len(stack) > 0 && line == "(end "+stack[len(stack)-1]+")" {
			return stack[:len(stack)-1]
		}
		return stack
	}
	name, value, found := strings.Cut(line, " =")
	if !found {
		return stack // the rest of a text with a line break in it
	}
	value = strings.TrimSpace(value)
	if value == "(embedded nvlist)" || strings.HasSuffix(value, " embedded nvlists)") {
		if len(stack) < maxNesting {
			return append(stack, name)
		}
		return stack
	}
	if len(stack) > 0 {
		name = strings.Join(stack, ".") + "." + name
	}
	if _, again := e.Fields[name]; !again && len(e.Fields) < maxFields && len(name) <= maxValueBytes {
		e.Fields[name] = value[:min(len(value), maxValueBytes)]
	}
	return stack
}
