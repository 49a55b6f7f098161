package kmsg

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"
)

// Priorities of the kernel's log (include/linux/kern_levels.h).
const (
	Emergency = 0
	Err       = 3
	Warning   = 4
	Notice    = 5
	Info      = 6
	Debug     = 7
)

// maxLineBytes keeps a record below the kernel's limit: /dev/kmsg refuses
// writes over 1024 bytes less the prefix (kernel/printk/printk.c,
// PRINTKRB_RECORD_MAX).
const maxLineBytes = 960

// facility is that of daemons (3), so that records of user space are told
// from the kernel's; the priority byte is facility<<3 | level.
const facility = 3 << 3

// Writer emits records. Each record is one write(2), so a Writer may be used
// by several goroutines.
type Writer struct{ out io.Writer }

// Open opens /dev/kmsg; where that is not possible, records go to standard
// error, which is the console at boot.
func Open() *Writer {
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return New(os.Stderr)
	}
	return New(f)
}

// New returns a Writer on w, in the format of /dev/kmsg.
func New(w io.Writer) *Writer { return &Writer{out: w} }

// Emit writes text at a priority: one record a line, and long lines in
// several. A record that cannot be written is lost.
func (w *Writer) Emit(priority int, text string) {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		for _, part := range split(line, maxLineBytes) {
			fmt.Fprintf(w.out, "<%d>%s\n", facility|priority, part)
		}
	}
}

// split cuts s into parts of at most n bytes, between runes.
func split(s string, n int) []string {
	var parts []string
	for len(s) > n {
		at := n
		for at > n-utf8.UTFMax && !utf8.RuneStart(s[at]) {
			at--
		}
		parts = append(parts, s[:at])
		s = s[at:]
	}
	return append(parts, s)
}
