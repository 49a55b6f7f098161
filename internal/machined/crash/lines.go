package crash

import (
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/machined/server"
)

// noLevel is what a line without a level counts as: information.
const noLevel = 6

// linesOf takes a record apart.
func linesOf(name, text string) iter.Seq[server.CrashLine] {
	return func(yield func(server.CrashLine) bool) {
		if strings.HasSuffix(name, ".enc.z") {
			yield(server.CrashLine{Level: noLevel, Record: valid(name), Message: "this record is compressed, and the kernel could not unpack it"})
			return
		}
		text, _, _ := cutHeader(text)
		for line := range strings.Lines(text) {
			l := parseLine(strings.TrimRight(line, "\r\n\x00"))
			l.Record = valid(name)
			if !yield(l) {
				return
			}
		}
	}
}

// parseLine reads "<6>[    1.234567] message", of which the level and the time may be
// missing (kernel/printk/printk.c, info_print_prefix).
func parseLine(line string) server.CrashLine {
	l := server.CrashLine{Level: noLevel, Message: line}
	if number, rest, ok := strings.Cut(strings.TrimPrefix(line, "<"), ">"); ok && line[0] == '<' {
		if n, err := strconv.ParseUint(number, 10, 16); err == nil {
			l.Level, l.Message = uint8(n&7), rest // above them is the facility
		}
	}
	if inner, rest, ok := strings.Cut(strings.TrimPrefix(l.Message, "["), "]"); ok && l.Message[0] == '[' {
		if since, ok := parseTime(strings.TrimSpace(inner)); ok {
			l.Since, l.Message = &since, strings.TrimPrefix(rest, " ")
		}
	}
	l.Message = valid(l.Message)
	return l
}

// parseTime reads seconds with six digits behind the point.
func parseTime(text string) (time.Duration, bool) {
	whole, fraction, ok := strings.Cut(text, ".")
	seconds, err1 := strconv.ParseUint(whole, 10, 32)
	micros, err2 := strconv.ParseUint(fraction, 10, 32)
	if !ok || len(fraction) != 6 || err1 != nil || err2 != nil {
		return 0, false
	}
	return time.Duration(seconds)*time.Second + time.Duration(micros)*time.Microsecond, true
}

// valid makes a text one that a message of the API can hold.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
