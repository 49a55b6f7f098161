package auditlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cyvive/cyvive/internal/audit"
)

const (
	current  = "audit.log"
	previous = "audit.log.1"
)

// tail is the end of a log as it was found.
type tail struct {
	head audit.Head // newest entry that is in order
	cut  int64      // bytes of a line without its end, which were cut off
}

// chain is the two files of one folder. It is not safe for concurrent use.
type chain struct {
	dir        string
	limitBytes int64
	file       *os.File
	size       int64
	head       audit.Head
}

// openChain opens the log of a folder that exists, and cuts off an incomplete last line.
func openChain(dir string, limitBytes int64) (*chain, tail, error) {
	f, err := os.OpenFile(filepath.Join(dir, current), os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, tail{}, fmt.Errorf("open audit log: %w", err)
	}
	c := &chain{dir: dir, limitBytes: limitBytes, file: f}
	t, err := c.recover()
	if err != nil {
		f.Close()
		return nil, tail{}, fmt.Errorf("open audit log: %w", err)
	}
	c.head = t.head
	return c, t, nil
}

// recover finds the end of the log, in the older file when the newer has no entry yet.
func (c *chain) recover() (tail, error) {
	info, err := c.file.Stat()
	if err != nil {
		return tail{}, err
	}
	t, complete, err := readTail(c.file, info.Size())
	if err != nil {
		return t, err
	}
	if t.cut = info.Size() - complete; t.cut > 0 {
		if err := c.file.Truncate(complete); err != nil {
			return t, err
		}
	}
	c.size = complete
	if t.head.Sequence > 0 {
		return t, nil
	}
	old, err := os.Open(filepath.Join(c.dir, previous))
	if errors.Is(err, os.ErrNotExist) {
		return t, nil
	}
	if err != nil {
		return t, err
	}
	defer old.Close()
	if info, err = old.Stat(); err != nil {
		return t, err
	}
	before, _, err := readTail(old, info.Size())
	before.cut = t.cut
	return before, err
}

// readTail finds the newest entry that is in order, and the size of the file up to its last newline. It looks further back only where the
// last part holds no such entry.
func readTail(f *os.File, size int64) (t tail, complete int64, err error) {
	for window := int64(4 * audit.MaxLineBytes); ; window *= 8 {
		start := max(0, size-window)
		data := make([]byte, size-start)
		if _, err := f.ReadAt(data, start); err != nil && !errors.Is(err, io.EOF) {
			return t, 0, err
		}
		end := bytes.LastIndexByte(data, '\n') + 1
		for line := range bytes.Lines(data[:end]) {
			if e, hash, err := audit.ParseLine(bytes.TrimSuffix(line, []byte("\n"))); err == nil {
				t.head = audit.Head{Sequence: e.Sequence, Hash: hash}
			}
		}
		if t.head.Sequence > 0 || start == 0 {
			return t, start + int64(end), nil
		}
	}
}

// append seals the entry and writes it. After an error the log is as before.
func (c *chain) append(e audit.Entry) error {
	line, hash, err := audit.Seal(e, c.head.Sequence+1, c.head.Hash)
	if err != nil {
		return err
	}
	if c.size > 0 && c.size+int64(len(line)) > c.limitBytes {
		if err := c.turn(); err != nil {
			return fmt.Errorf("turn audit log: %w", err)
		}
	}
	if _, err := c.file.Write(line); err != nil {
		// What was written in part goes, so that the next entry starts a line.
		return fmt.Errorf("write audit log: %w", errors.Join(err, c.file.Truncate(c.size)))
	}
	c.size += int64(len(line))
	c.head = audit.Head{Sequence: c.head.Sequence + 1, Hash: hash}
	return nil
}

// turn drops the older file and starts a new one.
func (c *chain) turn() error {
	if err := c.file.Sync(); err != nil {
		return err
	}
	path := filepath.Join(c.dir, current)
	if err := os.Rename(path, filepath.Join(c.dir, previous)); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		// The log goes on in the file it has.
		return errors.Join(err, os.Rename(filepath.Join(c.dir, previous), path))
	}
	old := c.file
	c.file, c.size = f, 0
	return old.Close()
}

// part is one file as it was at one moment.
type part struct {
	file *os.File
	size int64
}

// parts opens the files, the older first. They stay whole while the log turns; the caller closes them.
func (c *chain) parts() ([]part, error) {
	var out []part
	for _, name := range []string{previous, current} {
		f, err := os.Open(filepath.Join(c.dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			closeAll(out)
			return nil, fmt.Errorf("read audit log: %w", err)
		}
		info, err := f.Stat()
		if err != nil {
			closeAll(append(out, part{file: f}))
			return nil, fmt.Errorf("read audit log: %w", err)
		}
		out = append(out, part{f, info.Size()})
	}
	return out, nil
}

func closeAll(parts []part) {
	for _, p := range parts {
		p.file.Close()
	}
}
