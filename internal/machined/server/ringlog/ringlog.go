package ringlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cyvive/cyvive/internal/machined/server"
)

// Interval is how often a followed file is looked at.
const Interval = 200 * time.Millisecond

// Bounds of what a folder that others can write to makes the reader hold and read:
// entries of a folder, and bytes of a file, of which the newest count. Rings of init
// are a quarter of that at most.
const (
	maxEntries   = 1024
	maxFileBytes = 4 << 20
)

// Source is a folder of ring files.
type Source struct {
	Dir string
	// Within is a folder above Dir in which others than the node can write, empty if
	// there is none: no link in it leads a read out of it, and that Dir cannot be
	// listed keeps no log of another source from being read.
	Within string
	// Prefix is put before the names of this folder's services, so that two
	// planes can each have a containerd: "plane/" makes "plane/containerd".
	Prefix string
}

// open opens a file of the folder, "." for the folder itself. It never waits, as
// opening a pipe would.
func (s Source) open(name string, flags int) (*os.File, error) {
	top := cmp.Or(s.Within, s.Dir)
	folder, err := filepath.Rel(top, s.Dir)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(top)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.OpenFile(filepath.Join(folder, name), os.O_RDONLY|syscall.O_NONBLOCK|flags, 0)
}

// file opens a ring file, nil if it is not there. What is no regular file is none.
func (s Source) file(name string) (*os.File, error) {
	f, err := s.open(name, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", name)
	}
	if err != nil {
		_ = f.Close() // opened for reading
		return nil, fmt.Errorf("read log: %w", err)
	}
	return f, nil
}

// maxRenames is how many renames in a row are waited for: a writer of rings makes one
// in a megabyte, and two names of one file are no rename at all.
const maxRenames = 8

// files opens the current file of a ring and the one before it, nil for one that is
// not there. The current one is opened first: a rename in between shows as both being
// the same file, and then the renamed one is the one before.
func (s Source) files(name string) (current, previous *os.File, err error) {
	for range maxRenames {
		if current, err = s.file(name); err != nil {
			return nil, nil, err
		}
		if previous, err = s.file(name + ".1"); err != nil {
			if current != nil {
				_ = current.Close() // opened for reading
			}
			return nil, nil, err
		}
		if current == nil || previous == nil || !sameFile(current, previous) {
			return current, previous, nil
		}
		_, _ = current.Close(), previous.Close() // opened for reading
	}
	return nil, nil, fmt.Errorf("read log: %s and %s.1 are one file", name, name)
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
		found, err := s.Names()
		if err != nil {
			return nil, err
		}
		for _, n := range found {
			names = append(names, s.Prefix+n)
		}
	}
	return names, nil
}

// Names returns the names of the folder's services that have a log, sorted, without
// the prefix. A folder that is not there has none.
func (s Source) Names() ([]string, error) {
	dir, err := s.open(".", syscall.O_DIRECTORY)
	if errors.Is(err, fs.ErrNotExist) || err != nil && s.Within != "" {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list logs: %w", err)
	}
	defer dir.Close()
	entries, err := dir.ReadDir(maxEntries)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("list logs: %w", err)
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".log"); ok && e.Type().IsRegular() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Stream implements [server.Logs]. A service is named as Names has it; the
// prefix may be left out where no other service has the same name.
func (r *Reader) Stream(ctx context.Context, service string, o server.StreamOptions, send func(line []byte) error) error {
	source, name, err := r.resolve(service)
	if err != nil {
		return err
	}
	f := &follower{source: source, name: name, lines: splitter{emit: send}}
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

// resolve finds a service's folder and file by looking through the folders: what a
// caller says never becomes part of a path.
func (r *Reader) resolve(service string) (Source, string, error) {
	var loose []Source
	var file string
	var all []string
	for _, s := range r.sources {
		names, err := s.Names()
		if err != nil {
			return Source{}, "", err
		}
		for _, n := range names {
			all = append(all, s.Prefix+n)
			switch service {
			case s.Prefix + n:
				return s, n + ".log", nil
			case n:
				loose, file = append(loose, s), n+".log"
			}
		}
	}
	if len(loose) == 1 {
		return loose[0], file, nil
	}
	if len(all) == 0 {
		return Source{}, "", fmt.Errorf("service %q %w: no service has a log yet", service, server.ErrNotFound)
	}
	return Source{}, "", fmt.Errorf("service %q %w: there are logs of %s", service, server.ErrNotFound, strings.Join(all, ", "))
}

// follower reads one ring file through its renames. It is used by one goroutine.
type follower struct {
	source Source
	name   string
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
		_, err := f.copy(previous, 0)
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

// open opens the current file, if there is one, and returns the one before it, if
// there is one.
func (f *follower) open() (previous *os.File, err error) {
	f.file, previous, err = f.source.files(f.name)
	return previous, err
}

// poll sends what is new.
func (f *follower) poll() error {
	if err := f.drain(); err != nil {
		return err
	}
	now, err := f.source.file(f.name)
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
	at, err := f.copy(f.file, f.offset)
	f.offset = at
	return err
}

// copy hands on what a file has now from an offset on, and returns how far it came.
func (f *follower) copy(file *os.File, offset int64) (int64, error) {
	info, err := file.Stat()
	if err != nil {
		return offset, fmt.Errorf("read log: %w", err)
	}
	size := info.Size()
	if size < offset {
		offset = 0
	}
	offset = max(offset, size-maxFileBytes)
	n, err := io.Copy(&f.lines, io.NewSectionReader(file, offset, size-offset))
	return offset + n, err
}

func sameFile(a, b *os.File) bool {
	ai, aerr := a.Stat()
	bi, berr := b.Stat()
	return aerr == nil && berr == nil && os.SameFile(ai, bi)
}
