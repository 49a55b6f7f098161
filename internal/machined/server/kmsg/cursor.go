package kmsg

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/cyvive/cyvive/internal/machined/server"
)

const (
	// maxPassRecords bounds what one call of Since reads: a kernel that writes
	// faster than it is read would keep it for ever.
	maxPassRecords = 16 << 10
	// gapBytes is more than a line about missing records has.
	gapBytes = 160
)

// Cursor reads what is new in the kernel's log, for whoever copies it. It is not
// safe for concurrent use.
type Cursor struct {
	open func() (io.ReadCloser, error)
	// device is nil until it is needed. Next is the number after that of the last
	// record that it gave.
	device io.ReadCloser
	next   uint64
}

// NewCursor returns a cursor of the device at path, which Since opens.
func NewCursor(path string) *Cursor {
	return &Cursor{open: func() (io.ReadCloser, error) {
		fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
		return descriptor(fd), nil
	}}
}

// descriptor is a file that Go's poller does not know: it stays open, and with each
// record the kernel would wake the poller, and so the agent, for nothing.
type descriptor int

// Read implements io.Reader, with the errors of read(2).
func (d descriptor) Read(p []byte) (int, error) {
	n, err := syscall.Read(int(d), p)
	return max(n, 0), err
}

// Close implements io.Closer.
func (d descriptor) Close() error { return syscall.Close(int(d)) }

// Since returns the records from number next on as lines, oldest first, and the
// number after the last of them; the kernel's first record of a boot has 0. A line
// is "<6>[    1.234567] message", as a dead kernel leaves it: facility and level in
// one number, and seconds since the kernel's start. The lines are maxBytes at most,
// save that one is always there: the newest, and where records are missing, since
// they were more or the kernel has overwritten them, a line says how many. Since
// does not wait for records. What it could not read, it reads in its next call.
func (c *Cursor) Since(next uint64, maxBytes int) (lines []byte, after uint64, err error) {
	if c.device == nil || c.next != next {
		if err := c.reopen(next); err != nil {
			return nil, next, err
		}
	}
	kept := newest{maxBytes: maxBytes, bytes: gapBytes, next: next} // the first may come after missing ones
	buf := make([]byte, maxRecordBytes)
	for i, atEnd := 0, false; i < maxPassRecords && !atEnd; i++ {
		n, err := c.device.Read(buf)
		switch {
		case errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.EINTR): // the next record's number tells what is gone
		case errors.Is(err, syscall.EAGAIN) || errors.Is(err, io.EOF) || err == nil && n == 0:
			atEnd = true
		case err != nil:
			return nil, next, errors.Join(fmt.Errorf("read kernel log: %w", err), c.Close())
		default:
			if rec, err := Parse(buf[:n]); err == nil && rec.Sequence >= kept.next {
				kept.add(rec)
			}
		}
	}
	c.next = kept.next
	return kept.since(next), kept.next, nil
}

// reopen begins with the oldest record that the kernel has, which is before number
// next, or after it.
func (c *Cursor) reopen(next uint64) error {
	if err := c.Close(); err != nil {
		return err
	}
	device, err := c.open()
	if err != nil {
		return fmt.Errorf("open kernel log: %w", err)
	}
	c.device, c.next = device, next
	return nil
}

// Close closes the device. Since opens it again.
func (c *Cursor) Close() error {
	if c.device == nil {
		return nil
	}
	device := c.device
	c.device = nil
	if err := device.Close(); err != nil {
		return fmt.Errorf("close kernel log: %w", err)
	}
	return nil
}

// newest are the newest records, of no more than maxBytes.
type newest struct {
	maxBytes, bytes int
	lines           []line
	// next is the number after that of the last record.
	next uint64
}

// line is one record.
type line struct {
	sequence uint64
	text     string
	bytes    int // with what is said about records before it
}

func (k *newest) add(r server.Record) {
	l := line{sequence: r.Sequence, text: fmt.Sprintf("<%d>[%12.6f] %s\n", int(r.Facility)<<3|int(r.Level), r.SinceBoot.Seconds(), r.Message)}
	l.bytes = len(l.text)
	if r.Sequence != k.next {
		l.bytes += gapBytes
	}
	k.lines, k.bytes, k.next = append(k.lines, l), k.bytes+l.bytes, r.Sequence+1
	for k.bytes > k.maxBytes && len(k.lines) > 1 {
		k.bytes -= k.lines[0].bytes
		k.lines[0] = line{} // its text is not held any longer
		k.lines = k.lines[1:]
	}
}

// since is the records as text. Before them it had come to number next.
func (k *newest) since(next uint64) []byte {
	var text []byte
	for _, l := range k.lines {
		if l.sequence != next {
			text = fmt.Appendf(text, "[%d records of the kernel are missing here: more came than the kernel holds, or than is kept]\n", l.sequence-next)
		}
		text = append(text, l.text...)
		next = l.sequence + 1
	}
	return text
}
