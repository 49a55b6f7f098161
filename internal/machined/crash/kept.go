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
		data, err := readSome(r.path, maxRecordBytes)
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
	if err := inOrder(records); err != nil {
		return err
	}
	skip := 0
	if tail >= 0 {
		lines := 0
		if err := eachLine(records, func(server.CrashLine) error { lines++; return nil }); err != nil {
			return err
		}
		skip = max(0, lines-tail)
	}
	return eachLine(records, func(l server.CrashLine) error {
		if skip > 0 {
			skip--
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return send(l)
	})
}

// inOrder sorts the records of one boot, the oldest first. More than one kernel may have
// left them, as the two do that a release is tried with, and each counts its dumps from
// one: so they go by their times, which some firmware keeps in whole seconds, and a dump
// ends where the next record is no further part of it.
func inOrder(records []record) error {
	parts := make(map[string]part, len(records))
	for _, r := range records {
		head, err := readSome(r.path, maxHeaderBytes)
		if err != nil {
			return fmt.Errorf("read crash records: %w", err)
		}
		parts[r.name] = partOf(string(head))
	}
	slices.SortFunc(records, func(a, b record) int {
		p, o := parts[a.name], parts[b.name]
		return cmp.Or(
			cmp.Compare(min(p.dump, 1), min(o.dump, 1)), a.time.Truncate(time.Second).Compare(b.time.Truncate(time.Second)),
			cmp.Compare(p.dump, o.dump), cmp.Compare(p.part, o.part), cmp.Compare(a.name, b.name),
		)
	})
	dumps, last := make(map[string]int, len(records)), part{}
	for i, r := range records {
		p := parts[r.name]
		dumps[r.name] = i // of the first part of each, which is enough to tell them apart
		if i > 0 && p.dump == last.dump && p.part > last.part {
			dumps[r.name] = dumps[records[i-1].name]
		}
		last = p
	}
	// A dump is written from its end, so the highest part is the oldest
	// (fs/pstore/platform.c, pstore_dump).
	slices.SortStableFunc(records, func(a, b record) int {
		return cmp.Or(cmp.Compare(dumps[a.name], dumps[b.name]), cmp.Compare(parts[b.name].part, parts[a.name].part))
	})
	return nil
}

// eachLine calls do for the lines of records. It holds one record at a time: many may
// read, as slowly as they like.
func eachLine(records []record, do func(server.CrashLine) error) error {
	for _, r := range records {
		data, err := readSome(r.path, maxRecordBytes)
		if err != nil {
			return fmt.Errorf("read crash records: %w", err)
		}
		for line := range linesOf(r.name, string(data)) {
			if err := do(line); err != nil {
				return err
			}
		}
	}
	return nil
}

// isLog tells by the name of a record whether it is one of the kernel's log: pstore
// keeps traces and messages of programs too (fs/pstore/inode.c).
func isLog(name string) bool {
	return strings.HasPrefix(name, "dmesg-") || strings.HasPrefix(name, "console-")
}

// part is the place of a record among others of one kernel.
type part struct{ dump, part int }

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
