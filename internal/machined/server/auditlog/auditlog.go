package auditlog

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cyvive/cyvive/internal/audit"
)

// Log is the audit log. It may be used by several goroutines.
type Log struct {
	boot       string
	limitBytes int64
	now        func() time.Time

	mu    sync.Mutex
	chain *chain
	lost  uint64 // entries that could not be written since the last that could
}

// Open opens or makes the log in a folder. Each of its two files holds at most limitBytes. Entries carry the ID of the boot.
func Open(dir, boot string, limitBytes int64, now func() time.Time) (*Log, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder of the audit log: %w", err)
	}
	c, t, err := openChain(dir, limitBytes)
	if err != nil {
		return nil, err
	}
	l := &Log{boot: boot, limitBytes: limitBytes, now: now, chain: c}
	return l, l.noteCut(t)
}

func (l *Log) noteCut(t tail) error {
	if t.cut == 0 {
		return nil
	}
	return l.chain.append(audit.Entry{Time: l.now(), Boot: l.boot, Kind: audit.KindResumed, Count: uint64(t.cut)})
}

// Append adds an entry. With sync it is on the disk when Append returns; else the file system writes it within its commit interval (five
// seconds for ext4). An entry that cannot be written is counted in one that later can.
func (l *Log) Append(e audit.Entry, sync bool) error {
	e.Boot = l.boot
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.appendWithLost(e); err != nil {
		l.lost++
		return err
	}
	if sync {
		if err := l.chain.file.Sync(); err != nil {
			return fmt.Errorf("sync audit log: %w", err)
		}
	}
	return nil
}

func (l *Log) appendWithLost(e audit.Entry) error {
	if l.lost > 0 {
		if err := l.chain.append(audit.Entry{Time: e.Time, Boot: l.boot, Kind: audit.KindLost, Count: l.lost}); err != nil {
			return err
		}
		l.lost = 0
	}
	return l.chain.append(e)
}

// Read calls send for each line that the log has now, without its newline, oldest first, from one goroutine; line is valid during the call
// only. It returns send's first error as it is. Lines are handed on as they are in the files, broken or not.
func (l *Log) Read(ctx context.Context, send func(line []byte) error) error {
	l.mu.Lock()
	parts, err := l.chain.parts()
	l.mu.Unlock()
	if err != nil {
		return err
	}
	defer closeAll(parts)
	for _, p := range parts {
		if err := readLines(ctx, io.NewSectionReader(p.file, 0, p.size), send); err != nil {
			return err
		}
	}
	return nil
}

// readLines cuts a line that is longer than any entry into several, so that a broken file takes no memory.
func readLines(ctx context.Context, r io.Reader, send func([]byte) error) error {
	b := bufio.NewReaderSize(r, audit.MaxLineBytes)
	for {
		line, err := b.ReadSlice('\n')
		if len(line) > 0 {
			if err := errors.Join(ctx.Err(), send(bytes.TrimSuffix(line, []byte("\n")))); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return fmt.Errorf("read audit log: %w", err)
		}
	}
}

// Move appends the entries to the log of another folder and goes on there. After an error the log goes on where it was, or, if only the old files
// could not be removed, in the other folder; Move can be called again, by the next agent as well: what has moved does not move twice.
func (l *Log) Move(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make folder of the audit log: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if dir == l.chain.dir {
		return nil
	}
	target, t, err := openChain(dir, l.limitBytes)
	if err != nil {
		return err
	}
	if err := l.copyTo(ctx, target); err != nil {
		target.file.Close()
		return fmt.Errorf("move audit log to %s: %w", dir, err)
	}
	old := l.chain
	l.chain = target
	err = errors.Join(old.file.Close(), remove(filepath.Join(old.dir, previous)), remove(filepath.Join(old.dir, current)))
	return errors.Join(err, l.noteCut(t))
}

// copyTo seals the entries into the target's chain, without those which an earlier move has brought there. A line that is broken cannot
// be sealed as an entry and must not keep the others: it is counted as lost.
func (l *Log) copyTo(ctx context.Context, target *chain) error {
	parts, err := l.chain.parts()
	if err != nil {
		return err
	}
	defer closeAll(parts)
	there, err := target.parts()
	if err != nil {
		return err
	}
	defer closeAll(there)
	broken := uint64(0)
	each := func(do func(audit.Entry, audit.Hash) error) error {
		for _, p := range parts {
			err := readLines(ctx, io.NewSectionReader(p.file, 0, p.size), func(line []byte) error {
				e, hash, err := audit.ParseLine(line)
				if err != nil {
					broken++
					return nil
				}
				return do(e, hash)
			})
			if err != nil {
				return err
			}
		}
		return nil
	}
	var hashes []audit.Hash
	err = each(func(_ audit.Entry, hash audit.Hash) error {
		hashes = append(hashes, hash)
		return nil
	})
	if err != nil {
		return err
	}
	moved, err := countMoved(ctx, there, hashes)
	if err != nil {
		return err
	}
	broken = 0 // each pass counts them
	n := 0
	err = each(func(e audit.Entry, hash audit.Hash) error {
		if n++; n <= moved {
			return nil
		}
		e.Early = hash
		return target.append(e)
	})
	if err != nil {
		return err
	}
	l.lost += broken
	return target.file.Sync()
}

// countMoved returns how many of the entries with these hashes, from the first, are in a log to which they were moved. Entries of its own may lie
// behind them: what has moved is still where it came from when it could not be removed there, and the next agent finds it.
func countMoved(ctx context.Context, there []part, hashes []audit.Hash) (int, error) {
	if len(hashes) == 0 {
		return 0, nil
	}
	number := make(map[audit.Hash]int, len(hashes))
	for i, hash := range hashes {
		number[hash] = i + 1
	}
	moved, found, first := 0, false, []byte(hashes[0].String())
	for _, p := range there {
		err := readLines(ctx, io.NewSectionReader(p.file, 0, p.size), func(line []byte) error {
			// Mostly nothing has moved yet, and a long log need not be parsed for that.
			if found = found || bytes.Contains(line, first); !found {
				return nil
			}
			if e, _, err := audit.ParseLine(line); err == nil {
				moved = max(moved, number[e.Early])
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return moved, nil
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Close closes the files. The log must not be used afterwards.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.chain.file.Sync(), l.chain.file.Close())
}
