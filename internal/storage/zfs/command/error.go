package command

import (
	"fmt"
	"strings"
)

// Error is a program that failed.
type Error struct {
	// Program is zfs or zpool, Args what it was called with.
	Program string
	Args    []string
	// Said is its standard error, up to 256 KiB.
	Said string
	cut  bool
	// Class is an error of package zfs, or nil where the table has none for what was said.
	Class error
	// Cause is how it ended: a status, a signal, the end of the context, or that it could not be started.
	Cause error
}

// Bounds of what an error shows; all is in its fields.
const (
	shownArgs  = 12
	shownBytes = 1000
)

// Error is such as "run zfs destroy -- tank/a: has dependents: exit status 1: cannot destroy 'tank/a': filesystem has children".
func (e *Error) Error() string {
	s := "run " + e.Program + " " + strings.Join(e.Args[:min(len(e.Args), shownArgs)], " ")
	if more := len(e.Args) - shownArgs; more > 0 {
		s += fmt.Sprintf(" … (%d more arguments)", more)
	}
	if e.Class != nil {
		s += ": " + e.Class.Error()
	}
	s += ": " + e.Cause.Error()
	said := strings.Join(e.lines(), " | ")
	if len(said) > shownBytes {
		said = said[:shownBytes] + "…"
	}
	if said != "" {
		s += ": " + said
	}
	return s
}

// Unwrap makes errors.Is see the class and the cause.
func (e *Error) Unwrap() []error {
	if e.Class == nil {
		return []error{e.Cause}
	}
	return []error{e.Class, e.Cause}
}

// lines are what was said, without the help that follows some errors and is longer than they are.
func (e *Error) lines() []string {
	var lines []string
	for line := range strings.Lines(e.Said) {
		line = strings.TrimSpace(line)
		if line == "usage:" {
			break
		}
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// classify returns the class of what was said, or nil.
func (e *Error) classify() error {
	if p, ok := e.match(); ok {
		return p.class
	}
	return nil
}

// match returns the first pattern of the table that is found. Names may have ": " in them; those are taken out first, so that none can say what is a
// program's to say.
func (e *Error) match() (pattern, bool) {
	text := strings.Join(e.lines(), " ")
	for _, arg := range e.Args {
		if strings.Contains(arg, ": ") {
			text = strings.ReplaceAll(text, arg, "")
		}
	}
	text = strings.Join(strings.Fields(text), " ")
	for _, p := range patterns() {
		if strings.Contains(text, p.text) {
			return p, true
		}
	}
	return pattern{}, false
}
