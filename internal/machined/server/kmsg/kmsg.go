package kmsg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/cyvive/cyvive/internal/machined/server"
)

// maxRecordBytes is what one read asks for: the kernel refuses with EINVAL a
// buffer that is shorter than the record, which is at most PRINTK_MESSAGE_MAX,
// 2048 bytes (kernel/printk/internal.h).
const maxRecordBytes = 8 << 10

// Path is the kernel's log.
const Path = "/dev/kmsg"

// Reader reads the kernel's log. It is immutable and safe for concurrent use;
// each stream opens the log anew. It implements [server.Dmesg].
type Reader struct {
	open func() (*os.File, error)
}

var _ server.Dmesg = (*Reader)(nil)

// New returns a reader of the device at path.
func New(path string) *Reader {
	return &Reader{open: func() (*os.File, error) {
		return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	}}
}

// Stream implements [server.Dmesg]. Records that cannot be parsed are left out.
func (r *Reader) Stream(ctx context.Context, o server.StreamOptions, send func(server.Record) error) error {
	f, err := r.open()
	if err != nil {
		return fmt.Errorf("open kernel log: %w", err)
	}
	defer f.Close()
	var kept []server.Record
	emit := send
	if o.Tail >= 0 {
		emit = func(rec server.Record) error {
			if len(kept)/2 >= max(o.Tail, 1) {
				kept = slices.Delete(kept, 0, len(kept)-o.Tail)
			}
			kept = append(kept, rec)
			return nil
		}
	}
	if err := drain(ctx, f, emit); err != nil {
		return err
	}
	if o.Tail >= 0 {
		for _, rec := range kept[max(0, len(kept)-o.Tail):] {
			if err := send(rec); err != nil {
				return err
			}
		}
	}
	if !o.Follow {
		return nil
	}
	return follow(ctx, f, send)
}

// drain sends the records there are and returns at the end of the log.
func drain(ctx context.Context, f *os.File, send func(server.Record) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return fmt.Errorf("read kernel log: %w", err)
	}
	buf := make([]byte, maxRecordBytes)
	for ctx.Err() == nil {
		var n int
		var rerr error
		// Returning true leaves EAGAIN to us instead of waiting for a record.
		err := raw.Read(func(fd uintptr) bool {
			n, rerr = syscall.Read(int(fd), buf)
			return true
		})
		switch {
		case err != nil:
			return fmt.Errorf("read kernel log: %w", err)
		case errors.Is(rerr, syscall.EAGAIN) || rerr == nil && n == 0:
			return nil
		case errors.Is(rerr, syscall.EPIPE) || errors.Is(rerr, syscall.EINTR):
			continue
		case rerr != nil:
			return fmt.Errorf("read kernel log: %w", rerr)
		}
		if err := sendRecord(buf[:n], send); err != nil {
			return err
		}
	}
	return nil
}

// follow sends records as they come, until the context ends.
func follow(ctx context.Context, f *os.File, send func(server.Record) error) error {
	stop := context.AfterFunc(ctx, func() {
		// Wakes the read; that it failed shows there. Every descriptor that
		// os.OpenFile could not put in the poller fails its first wait anyway.
		_ = f.SetReadDeadline(time.Unix(1, 0))
	})
	defer stop()
	buf := make([]byte, maxRecordBytes)
	for {
		n, err := f.Read(buf)
		switch {
		case ctx.Err() != nil || errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, syscall.EPIPE):
			continue
		case err != nil:
			return fmt.Errorf("read kernel log: %w", err)
		}
		if err := sendRecord(buf[:n], send); err != nil {
			return err
		}
	}
}

func sendRecord(record []byte, send func(server.Record) error) error {
	rec, err := Parse(record)
	if err != nil {
		return nil
	}
	return send(rec)
}
