package ringlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/machined/server"
)

// Interval is how often a followed file is looked at.
const Interval = 200 * time.Millisecond

// Source is a folder of ring files.
type Source struct {
	Dir string
	// Prefix is put before the names of this folder's services, so that two
	// planes can each have a containerd: "plane/" makes "plane/containerd".
	Prefix string
}

// Reader reads the ring files of some folders. It is immutable and safe for
// concurrent use; it implements [server.Logs].
type Reader struct {
	sources  []Source
	interval time.Duration
}

var _ server.Logs = (*Reader)(nil)

// New returns a reader of the folders, which need not exist yet.
func New(sources ...Source) *Reader {
	return &Reader{sources: slices.Clone(sources), interval: Interval}
}

// Names returns the names of the services that have a log, in the order of the
// sources, and sorted in each.
func (r *Reader) Names() ([]string, error) {
	var names []string
	for _, s := range r.sources {
		found, err := s.names()
		if err != nil {
			return nil, err
		}
		for _, n := range found {
			names = append(names, s.Prefix+n)
		}
	}
	return names, nil
}

// names returns the base names of a folder's ring files, sorted.
func (s Source) names() ([]string, error) {
	entries, err := os.ReadDir(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list logs: %w", err)
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".log"); ok && e.Type().IsRegular() {
			names = append(names, name)
		}
	}
	return names, nil
}

// Stream implements [server.Logs]. A service is named as Names has it; the
// prefix may be left out where no other service has the same name.
func (r *Reader) Stream(ctx context.Context, service string, o server.StreamOptions, send func(line []byte) error) error {
	path, err := r.resolve(service)
	if err != nil {
		return err
	}
	f := &follower{path: path, lines: splitter{emit: send}}
	defer f.close()
	if err := f.begin(o); err != nil || !o.Follow {
		return err
	}
	ticker := time.NewTicker(r.interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := f.poll(); err != nil {
			return err
		}
	}
}

// resolve finds a service's file by looking through the folders: the name never
// becomes part of a path.
func (r *Reader) resolve(service string) (string, error) {
	var loose []string
	var all []string
	for _, s := range r.sources {
		names, err := s.names()
		if err != nil {
			return "", err
		}
		for _, n := range names {
			path := filepath.Join(s.Dir, n+".log")
			all = append(all, s.Prefix+n)
			switch service {
			case s.Prefix + n:
				return path, nil
			case n:
				loose = append(loose, path)
			}
		}
	}
	if len(loose) == 1 {
		return loose[0], nil
	}
	if len(all) == 0 {
		return "", fmt.Errorf("service %q %w: no service has a log yet", service, server.ErrNotFound)
	}
	return "", fmt.Errorf("service %q %w: there are logs of %s", service, server.ErrNotFound, strings.Join(all, ", "))
}

// follower reads one ring file through its renames. It is used by one goroutine.
type follower struct {
	path   string
	file   *os.File // the current file; nil between two of them
	offset int64
	lines  splitter
}

func (f *follower) close() {
	if f.file != nil {
		_ = f.file.Close() // opened for reading
		f.file = nil
	}
}

// begin sends what is kept, or its newest lines if the tail is not negative. A
// last line that has not ended counts unless the log is followed, when its rest
// is to come.
func (f *follower) begin(o server.StreamOptions) error {
	previous, err := f.open()
	if err != nil {
		return err
	}
	last := lastLines{max: o.Tail}
	emit := f.lines.emit
	if o.Tail >= 0 {
		f.lines.emit = last.add
	}
	if previous != nil {
		_, err := io.Copy(&f.lines, previous)
		_ = previous.Close() // opened for reading
		if err != nil {
			return err
		}
	}
	if err := f.drain(); err != nil {
		return err
	}
	if !o.Follow {
		if err := f.lines.flush(); err != nil {
			return err
		}
	}
	f.lines.emit = emit
	return last.each(emit)
}

// open opens the current file, if there is one, and returns the one before it,
// if there is one. The current one is opened first: a rename in between shows
// as both being the same file, and then the renamed one is the one before.
func (f *follower) open() (previous *os.File, err error) {
	for {
		if f.file, err = openIfExists(f.path); err != nil {
			return nil, err
		}
		if previous, err = openIfExists(f.path + ".1"); err != nil {
			return nil, err
		}
		if f.file == nil || previous == nil || !sameFile(f.file, previous) {
			return previous, nil
		}
		f.close()
		_ = previous.Close() // opened for reading
	}
}

// poll sends what is new.
func (f *follower) poll() error {
	if err := f.drain(); err != nil {
		return err
	}
	now, err := openIfExists(f.path)
	if err != nil || now == nil {
		return err
	}
	if f.file != nil && sameFile(f.file, now) {
		return now.Close()
	}
	// Renamed. What came between the drain above and the rename is still in the
	// old file, which nobody writes any more.
	if err := f.drain(); err != nil {
		_ = now.Close() // opened for reading
		return err
	}
	f.close()
	f.file, f.offset = now, 0
	return f.drain()
}

// drain sends what the current file has beyond the offset; a file shorter than
// that was truncated and is read from its start.
func (f *follower) drain() error {
	if f.file == nil {
		return nil
	}
	info, err := f.file.Stat()
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	if info.Size() < f.offset {
		f.offset = 0
	}
	n, err := io.Copy(&f.lines, io.NewSectionReader(f.file, f.offset, info.Size()-f.offset))
	f.offset += n
	return err
}

func openIfExists(path string) (*os.File, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	return f, nil
}

func sameFile(a, b *os.File) bool {
	ai, aerr := a.Stat()
	bi, berr := b.Stat()
	return aerr == nil && berr == nil && os.SameFile(ai, bi)
}
