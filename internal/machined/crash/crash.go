// Package crash finds out how the boot before ended when nobody could write that
// down: by what the kernel left in the firmware's memory when it died, and by
// whether the watchdog had to start the machine.
package crash

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/machined/boot/trial"
	"github.com/cyvive/cyvive/internal/machined/ledger"
)

// Source is where to look.
type Source struct {
	// Pstore is the mount point of the kernel's persistent storage
	// (Documentation/admin-guide/pstore-blk.rst, fs/pstore), Watchdog the directory of
	// the first watchdog in sysfs (Documentation/ABI/testing/sysfs-class-watchdog).
	Pstore, Watchdog string
	// Kept is the directory into which records are moved, the memory for them
	// being small. Its parent must exist.
	Kept string
	// Boot is the running boot's ID: the name of the folder in Kept for what it
	// finds.
	Boot string
}

const (
	// maxRecordBytes is what is read of a record; kernels write some 1 to 64 KiB.
	maxRecordBytes = 256 << 10
	// maxHeaderBytes is more than the first line of a record has.
	maxHeaderBytes = 128
	// maxKept is how many records are kept.
	maxKept = 40
	// panicked begins the text of a panic.
	panicked = "kernel panic: "
	// cardReset is WDIOF_CARDRESET of include/uapi/linux/watchdog.h.
	cardReset = 0x20
)

// Take returns what is known of a bad end of the boot before, for a person, empty if
// nothing is. Records are moved away, so that a second call does not find them:
// it is for the first agent of a boot. What can be told comes with the error too.
func (s Source) Take() (string, error) {
	text, err := s.panicText()
	if text == "" && s.wasReset() {
		text = "the watchdog started the machine again: it hung"
	}
	return text, err
}

// panicText reads and moves the records.
func (s Source) panicText() (string, error) {
	entries, err := os.ReadDir(s.Pstore)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read crash records: %w", err)
	}
	var text string
	var errs []error
	for _, e := range entries {
		path := filepath.Join(s.Pstore, e.Name())
		data, err := readSome(path, maxRecordBytes)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if found := parse(string(data)); found != "" {
			text = found
		}
		errs = append(errs, s.keep(e, data, path))
	}
	errs = append(errs, s.thin())
	if err := errors.Join(errs...); err != nil {
		return text, fmt.Errorf("read crash records: %w", err)
	}
	return text, nil
}

// readSome reads the beginning of a file.
func readSome(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}

// keep moves a record to the disk, with the time at which it was written.
func (s Source) keep(e fs.DirEntry, data []byte, from string) error {
	dir := filepath.Join(s.Kept, s.Boot)
	for _, d := range []string{s.Kept, dir} {
		// Not the parent: without it nothing is mounted there, and the record would be lost.
		if err := os.Mkdir(d, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	// On the disk before the firmware forgets it.
	to := filepath.Join(dir, e.Name())
	if err := ledger.ReplaceFile(to, data, 0o600); err != nil {
		return err
	}
	if info, err := e.Info(); err == nil {
		_ = os.Chtimes(to, time.Time{}, info.ModTime()) // the record is worth more than its time
	}
	return os.Remove(from)
}

// thin removes the oldest records, and folders that are empty.
func (s Source) thin() error {
	records, err := s.records()
	if err != nil {
		return err
	}
	slices.SortFunc(records, func(a, b record) int { return a.time.Compare(b.time) })
	for len(records) > maxKept {
		if err := os.Remove(records[0].path); err != nil {
			return err
		}
		_ = os.Remove(filepath.Dir(records[0].path)) // fails while there are others
		records = records[1:]
	}
	return nil
}

// parse finds the last words in a record: the kernel's line of a panic, or else that
// of what made it, or init's when it ended a trial.
func parse(record string) string {
	for _, mark := range []string{"Kernel panic - not syncing: ", "BUG: ", "Oops: "} {
		_, rest, ok := strings.Cut(record, mark)
		if !ok {
			continue
		}
		line, _, _ := strings.Cut(rest, "\n")
		line = strings.ToValidUTF8(strings.TrimSpace(line), "\uFFFD")
		if mark[0] == 'K' {
			return panicked + line
		}
		return "kernel: " + mark + line
	}
	if _, rest, ok := strings.Cut(record, trial.Mark); ok {
		line, _, _ := strings.Cut(rest, "\n")
		return "init ended the trial: " + strings.ToValidUTF8(strings.TrimSpace(line), "\uFFFD")
	}
	return ""
}

func (s Source) wasReset() bool {
	data, err := os.ReadFile(filepath.Join(s.Watchdog, "bootstatus"))
	if err != nil {
		return false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(data)), 0, 32)
	return err == nil && n&cardReset != 0
}
