package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

const (
	// writtenBytes is the size of a file of a writer, and writtenMost how many it writes, which keeps it from filling a disk.
	writtenBytes = 32 << 10
	writtenMost  = 8000
	// unhurried is a pause between two files with which it writes for longer than any part of a test takes.
	unhurried = 100 * time.Millisecond
)

// writer writes files to a node, and reads each again at once, until it is stopped. Meanwhile the probe of the node is its own.
type writer struct {
	quit, done chan struct{}
	once       sync.Once

	mu sync.Mutex
	// files are those whose writes were acknowledged, and err is what ended it.
	files []writtenFile
	err   error
}

// writer begins to write, to several directories in turn, with a pause behind each file. Names begin with a number.
func (p *pooled) writer(ctx context.Context, dirs []string, first int, pause time.Duration, random *rand.Rand) *writer {
	w := &writer{quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		for n := range writtenMost {
			select {
			case <-w.quit:
				return
			case <-time.After(pause):
			}
			file := writtenFile{fileName(dirs[n%len(dirs)], first+n), noise(random, writtenBytes)}
			err := p.writeAndRead(ctx, file)
			w.mu.Lock()
			if err == nil {
				w.files = append(w.files, file)
			}
			w.err = err
			w.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return w
}

func (p *pooled) writeAndRead(ctx context.Context, file writtenFile) error {
	if err := p.probe.Write(ctx, probedPath(file.path), file.data); err != nil {
		return fmt.Errorf("write %s: %w", file.path, err)
	}
	got, err := p.probe.Read(ctx, probedPath(file.path))
	if err != nil {
		return fmt.Errorf("read %s: %w", file.path, err)
	}
	if got != string(file.data) {
		return fmt.Errorf("read %s: its %d bytes are not the %d that were written", file.path, len(got), len(file.data))
	}
	return nil
}

// count is how many files are written.
func (w *writer) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.files)
}

// await waits until so many files are written.
func (w *writer) await(t *testing.T, ctx context.Context, n int) {
	t.Helper()
	for w.count() < n {
		select {
		case <-ctx.Done():
			t.Fatalf("%d files are written, want %d: %v", w.count(), n, context.Cause(ctx))
		case <-w.done:
			if w.count() < n {
				t.Fatalf("the writer ended behind %d files, want %d: %v", w.count(), n, w.err)
			}
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// underWay waits until some files are written.
func (w *writer) underWay(t *testing.T, ctx context.Context) {
	t.Helper()
	w.await(t, ctx, 5)
}

// further waits until some more are.
func (w *writer) further(t *testing.T, ctx context.Context) {
	t.Helper()
	w.await(t, ctx, w.count()+5)
}

// halt stops it, whatever became of it.
func (w *writer) halt() { _, _ = w.stop() }

// stop ends it, and waits for what is under way: that ends with the node's power, too. It returns what was acknowledged, and what went wrong.
func (w *writer) stop() ([]writtenFile, error) {
	w.once.Do(func() { close(w.quit) })
	<-w.done
	return w.files, w.err
}

// end stops it where nothing may have gone wrong, and reads all once more.
func (w *writer) end(t *testing.T, ctx context.Context, p *pooled) {
	t.Helper()
	files, err := w.stop()
	if err != nil {
		t.Fatalf("behind %d files: %v", len(files), err)
	}
	t.Logf("%d files were written", len(files))
	p.hasAll(t, ctx, files)
}

// hasAll wants all files to be as they were written.
func (p *pooled) hasAll(t *testing.T, ctx context.Context, files []writtenFile) {
	t.Helper()
	for _, f := range files {
		p.has(t, ctx, f.path, f.data)
		if t.Failed() {
			return // one says enough
		}
	}
}
