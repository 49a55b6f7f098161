package install

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Device is a disk that is written as a whole, by nobody else meanwhile. WriteAt is on it after Sync only.
type Device interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
	// Discard tells the disk that a part holds nothing any more. Afterwards anything may be read there. A disk that knows no such thing does nothing.
	Discard(at, n int64) error
	// Renew has the kernel read the partition table.
	Renew() error
	Close() error
}

// window is a part of a device. It is of one goroutine.
type window struct {
	ctx         context.Context
	dev         Device
	start, size int64
	pos         int64
	// unsynced is how much was written since the last Sync.
	unsynced int64
	// tell, if not nil, is told of each write.
	tell func(n int64) error
	// err is the first error of the device: the library of FAT keeps no more than the text of it, and nothing at all of one of reading.
	err error
}

// syncEvery bounds what waits in memory to be written: a node that installs goes on working.
const syncEvery = 16 * mib

var errOutside = errors.New("outside of its partition")

// ReadAt implements io.ReaderAt.
func (w *window) ReadAt(p []byte, at int64) (int, error) {
	if at < 0 || at > w.size {
		return 0, errOutside
	}
	short := int64(len(p)) > w.size-at
	n, err := w.dev.ReadAt(p[:min(int64(len(p)), w.size-at)], at+w.start)
	if err != nil && w.err == nil {
		w.err = err
	}
	if err == nil && short {
		err = io.EOF
	}
	return n, err
}

// WriteAt implements io.WriterAt. It ends with the context, and after an error nothing more is written.
func (w *window) WriteAt(p []byte, at int64) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.writeAt(p, at)
	w.err = err
	return n, err
}

func (w *window) writeAt(p []byte, at int64) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	if at < 0 || int64(len(p)) > w.size-at {
		return 0, fmt.Errorf("write %d bytes at byte %d: %w of %d bytes", len(p), at, errOutside, w.size)
	}
	n, err := w.dev.WriteAt(p, at+w.start)
	if err != nil {
		return n, err
	}
	if w.unsynced += int64(n); w.unsynced >= syncEvery {
		if err := w.dev.Sync(); err != nil {
			return n, err
		}
		w.unsynced = 0
	}
	if w.tell != nil {
		err = w.tell(int64(n))
	}
	return n, err
}

// Read implements io.Reader.
func (w *window) Read(p []byte) (int, error) {
	n, err := w.ReadAt(p, w.pos)
	w.pos += int64(n)
	return n, err
}

// Write implements io.Writer.
func (w *window) Write(p []byte) (int, error) {
	n, err := w.WriteAt(p, w.pos)
	w.pos += int64(n)
	return n, err
}

// Seek implements io.Seeker.
func (w *window) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += w.pos
	case io.SeekEnd:
		offset += w.size
	}
	if offset < 0 {
		return 0, errOutside
	}
	w.pos = offset
	return offset, nil
}

// Close implements io.Closer: the device stays open.
func (w *window) Close() error { return nil }

// copyPiece is how much is written at once.
const copyPiece = mib

// fill copies a source to the beginning of the window, and returns how much that was.
func (w *window) fill(from io.Reader) (int64, error) {
	// Hidden, so that pieces have the size of the buffer.
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{from}, make([]byte, copyPiece))
}

// zero overwrites a part with zeros.
func (w *window) zero(at, n int64) error {
	zeros := make([]byte, min(n, copyPiece))
	for n > 0 {
		piece := min(n, int64(len(zeros)))
		if _, err := w.WriteAt(zeros[:piece], at); err != nil {
			return err
		}
		at, n = at+piece, n-piece
	}
	return nil
}
