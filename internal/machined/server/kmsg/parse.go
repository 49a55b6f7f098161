package kmsg

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/machined/server"
)

var errNoMessage = errors.New("no semicolon before the message")

// Parse reads one record as /dev/kmsg gives it:
//
//	6,339,5140900,-;NET: Registered protocol family 10
//	 SUBSYSTEM=net
//
// The priority is level + 8 × facility, the time is in microseconds, fields
// beyond the fourth are to be ignored, and lines that begin with a space are
// the record's dictionary, which is left out. Bytes that do not print stay in
// the kernel's own \xNN form.
func Parse(record []byte) (server.Record, error) {
	prefix, text, ok := strings.Cut(string(record), ";")
	if !ok {
		return server.Record{}, fmt.Errorf("parse kernel record: %w", errNoMessage)
	}
	fields := strings.Split(prefix, ",")
	if len(fields) < 3 {
		return server.Record{}, fmt.Errorf("parse kernel record: %d fields, expected at least 3", len(fields))
	}
	// A facility has 8 bits in the records the kernel keeps
	// (include/linux/printk_ringbuffer, struct printk_info, since Linux 5.10).
	priority, err := strconv.ParseUint(fields[0], 10, 11)
	if err != nil {
		return server.Record{}, fmt.Errorf("parse kernel record's priority: %w", err)
	}
	sequence, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil {
		return server.Record{}, fmt.Errorf("parse kernel record's sequence: %w", err)
	}
	micros, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil || micros < 0 || micros > int64(maxSinceBoot/time.Microsecond) {
		return server.Record{}, fmt.Errorf("parse kernel record's time: %q is not a number of microseconds", fields[2])
	}
	message, _, _ := strings.Cut(text, "\n")
	return server.Record{
		Sequence:  sequence,
		Level:     uint8(priority & 7),
		Facility:  uint8(priority >> 3),
		SinceBoot: time.Duration(micros) * time.Microsecond,
		Message:   strings.ToValidUTF8(message, "\uFFFD"),
	}, nil
}

// maxSinceBoot is what a time.Duration holds, 292 years.
const maxSinceBoot = time.Duration(1<<63 - 1)
