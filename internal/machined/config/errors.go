package config

import (
	"fmt"
	"strings"
)

// Error is one mistake in a configuration file.
type Error struct {
	// File is the name given to Parse; Line counts from 1, and is 0 when the mistake is one of the file as a whole.
	File string
	Line int
	// Field is the path of the field from its kind on, such as "Cluster.podCIDR"; empty for mistakes outside documents.
	Field string
	// Problem says what is wrong and what was expected.
	Problem string
}

// Error formats the mistake as "file:line: field: problem".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	if e.Field != "" {
		b.WriteString(": " + e.Field)
	}
	b.WriteString(": " + e.Problem)
	return b.String()
}

// Errors are all mistakes of one configuration, in the order of their lines. Parse's error is always of this type.
type Errors []*Error

// Error joins the mistakes, one a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives errors.As each mistake.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, one := range e {
		all[i] = one
	}
	return all
}
