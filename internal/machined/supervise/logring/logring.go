package logring

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Writer appends to a ring. It may be used by several goroutines; each Write
// stays in one piece in one file.
type Writer struct {
	path       string
	limitBytes int64

	mu   sync.Mutex
	file *os.File
	size int64
}

// Open opens or makes the ring at path. Each of its two files holds at most
// limitBytes, save that one Write larger than that is kept whole.
func Open(path string, limitBytes int64) (*Writer, error) {
	w := &Writer{path: path, limitBytes: limitBytes}
	if err := w.open(); err != nil {
		return nil, err
	}
	return w, nil
}

// Path is the newer of the two files.
func (w *Writer) Path() string { return w.path }

// Write appends p, and turns the ring first if p has no room.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil {
		return 0, os.ErrClosed
	}
	if w.size > 0 && w.size+int64(len(p)) > w.limitBytes {
		if err := w.turn(); err != nil {
			return 0, err
		}
	}
	n, err := w.file.Write(p)
	w.size += int64(n)
	return n, err
}

// Flush has the kernel begin to write to the disk what the newer file has, and does not
// wait until that is there (sync_file_range(2)). The file's size, and a turn, are on the disk with
// the file system's next commit. On ZFS, whose writes are not in the page cache, nothing is begun by
// it, and all of it is there with the next transaction group.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil {
		return os.ErrClosed
	}
	if err := unix.SyncFileRange(int(w.file.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE); err != nil {
		return fmt.Errorf("flush log %s: %w", w.path, err)
	}
	return nil
}

// Close closes the file. Later writes are os.ErrClosed.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil {
		return nil
	}
	err := w.file.Close()
	w.file = nil
	return err
}

func (w *Writer) turn() error {
	if err := os.Rename(w.path, w.path+".1"); err != nil {
		return fmt.Errorf("turn log %s: %w", w.path, err)
	}
	old := w.file
	if err := w.open(); err != nil {
		// The ring goes on in the file it has, and the next write tries again.
		return errors.Join(err, os.Rename(w.path+".1", w.path))
	}
	return old.Close()
}

func (w *Writer) open() error {
	f, err := os.OpenFile(w.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return fmt.Errorf("open log: %w", err)
	}
	w.file, w.size = f, info.Size()
	return nil
}
