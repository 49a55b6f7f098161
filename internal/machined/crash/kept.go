package crash

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/machined/server"
)

var _ server.Crashes = Source{}

// record is one kept record.
type record struct {
	foundBy, name, path string
	time                time.Time
	sizeBytes           int64
}

// unknown is the boot that found what an older agent has kept, which made no folders.
const unknown = "unknown"

// records lists what is kept: a folder for each boot that found something.
func (s Source) records() ([]record, error) {
	boots, err := os.ReadDir(s.Kept)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list crash records: %w", err)
	}
	var out []record
	for _, boot := range boots {
		if info, err := boot.Info(); err == nil && info.Mode().IsRegular() {
			out = append(out, record{unknown, boot.Name(), filepath.Join(s.Kept, boot.Name()), info.ModTime(), info.Size()})
		}
		if !boot.IsDir() {
			continue
		}
		dir := filepath.Join(s.Kept, boot.Name())
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, fmt.Errorf("list crash records: %w", err)
		}
		for _, e := range entries {
			if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
				out = append(out, record{boot.Name(), e.Name(), filepath.Join(dir, e.Name()), info.ModTime(), info.Size()})
			}
		}
	}
	return out, nil
}

// Crashes implements server.Crashes.
func (s Source) Crashes(context.Context) ([]server.Crash, error) {
	records, err := s.records()
	if err != nil {
		return nil, err
	}
	var out []server.Crash
	for _, r := range records {
		i := slices.IndexFunc(out, func(c server.Crash) bool { return c.FoundBy == r.foundBy })
		if i < 0 {
			i, out = len(out), append(out, server.Crash{FoundBy: r.foundBy, Time: r.time})
		}
		c := &out[i]
		c.Records, c.SizeBytes = c.Records+1, c.SizeBytes+r.sizeBytes
		if r.time.Before(c.Time) {
			c.Time = r.time
		}
		data, err := readSome(r.path)
		if err != nil {
			return nil, fmt.Errorf("read crash records: %w", err)
		}
		if found := parse(string(data)); found != "" && !strings.HasPrefix(c.Summary, panicked) {
			c.Summary = found
		}
	}
	slices.SortFunc(out, func(a, b server.Crash) int { return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(a.FoundBy, b.FoundBy)) })
	return out, nil
}

// CrashLog implements server.Crashes.
func (s Source) CrashLog(ctx context.Context, foundBy string, tail int, send func(server.CrashLine) error) error {
	if foundBy == "" {
		foundBy = s.Boot
	}
	records, err := s.records()
	if err != nil {
		return err
	}
	records = slices.DeleteFunc(records, func(r record) bool { return r.foundBy != foundBy || !isLog(r.name) })
	if len(records) == 0 {
		return fmt.Errorf("read the log of a boot that ended badly: %w: boot %q found none", server.ErrNotFound, foundBy)
	}
	texts := make(map[string]string, len(records))
	for _, r := range records {
		data, err := readSome(r.path)
		if err != nil {
			return fmt.Errorf("read crash records: %w", err)
		}
		texts[r.name] = string(data)
	}
	slices.SortFunc(records, func(a, b record) int {
		return cmp.Or(partOf(texts[a.name]).compare(partOf(texts[b.name])), cmp.Compare(a.name, b.name))
	})
	var lines []server.CrashLine
	for _, r := range records {
		lines = append(lines, linesOf(r.name, texts[r.name])...)
	}
	if tail >= 0 {
		lines = lines[max(0, len(lines)-tail):]
	}
	for _, line := range lines {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := send(line); err != nil {
			return err
		}
	}
	return nil
}

// isLog tells by the name of a record whether it is one of the kernel's log: pstore
// keeps traces and messages of programs too (fs/pstore/inode.c).
func isLog(name string) bool {
	return strings.HasPrefix(name, "dmesg-") || strings.HasPrefix(name, "console-")
}

// part is the place of a record among others of one boot.
type part struct{ dump, part int }

// compare sorts by time: a dump is written from its end, so the highest part is the
// oldest (fs/pstore/platform.c, pstore_dump).
func (p part) compare(o part) int {
	return cmp.Or(cmp.Compare(p.dump, o.dump), cmp.Compare(o.part, p.part))
}

// partOf reads the first line of a record, "Panic#2 Part1". A record without one, as
// those of consoles are, comes before all others.
func partOf(text string) part {
	_, p, _ := cutHeader(text)
	return p
}

func cutHeader(text string) (rest string, p part, ok bool) {
	line, rest, _ := strings.Cut(text, "\n")
	reason, numbers, found := strings.Cut(line, "#")
	dump, piece, whole := strings.Cut(numbers, " Part")
	d, err1 := strconv.ParseUint(dump, 10, 31)
	n, err2 := strconv.ParseUint(strings.TrimSpace(piece), 10, 31)
	if !found || !whole || err1 != nil || err2 != nil || strings.ContainsAny(reason, " <[") {
		return text, part{}, false
	}
	return rest, part{int(d), int(n)}, true
}

// noLevel is what a line without a level counts as: information.
const noLevel = 6

// linesOf takes a record apart.
func linesOf(name, text string) []server.CrashLine {
	if strings.HasSuffix(name, ".enc.z") {
		return []server.CrashLine{{Level: noLevel, Record: valid(name), Message: "this record is compressed, and the kernel could not unpack it"}}
	}
	text, _, _ = cutHeader(text)
	var out []server.CrashLine
	for line := range strings.Lines(text) {
		l := parseLine(strings.TrimRight(line, "\r\n\x00"))
		l.Record = valid(name)
		out = append(out, l)
	}
	return out
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
