package procfs

import (
	"context"
	"strings"
	"sync"
	"time"
)

const (
	// maxForeign reads may be under way, of those that may hang.
	maxForeign = 8
	// foreignTime is how long one of them is waited for.
	foreignTime = 500 * time.Millisecond
)

// foreign reads files of /proc for which the kernel looks into the memory of a process
// that is not the node's own. The process can make that wait for as long as it likes: a
// thread of it holds the lock of its memory (mmap_lock) while it waits for a page of a
// file whose file system it serves itself (FUSE), another one waits to change a mapping,
// and who wants to read stands behind that one. Only a thread that is ended as a whole
// comes out of there, and such a thread is one of the agent's.
//
// So there are few such threads, none is waited for long, and what hangs is not asked
// again until it has answered. It is safe for concurrent use.
type foreign struct {
	slots chan struct{}

	mu sync.Mutex
	// hung counts the reads of a file that nobody waits for any more.
	hung    map[string]int
	hanging int
}

func newForeign() *foreign {
	return &foreign{slots: make(chan struct{}, maxForeign), hung: map[string]int{}}
}

// own tells whether a control group is of the node's own plane. Nothing gets in there by
// itself, see package boot.
func own(cgroup string) bool { return cgroup == "/init" || strings.HasPrefix(cgroup, "/system/") }

// text returns the text of a file; empty where it would have to be waited for.
func (f *foreign) text(ctx context.Context, path string) string {
	if f.hangs(path) {
		return ""
	}
	timer := time.NewTimer(foreignTime)
	defer timer.Stop()
	select {
	case f.slots <- struct{}{}:
	case <-timer.C:
		return ""
	case <-ctx.Done():
		return ""
	}
	read := make(chan string, 1)
	go func() {
		read <- text(path)
		<-f.slots
	}()
	select {
	case s := <-read:
		return s
	case <-timer.C:
	case <-ctx.Done():
	}
	f.count(path, 1)
	go func() {
		<-read
		f.count(path, -1)
	}()
	return ""
}

// hangs tells whether a file is not to be asked for now.
func (f *foreign) hangs(path string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hung[path] > 0 || f.hanging >= maxForeign
}

func (f *foreign) count(path string, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hanging += n
	if f.hung[path] += n; f.hung[path] == 0 {
		delete(f.hung, path)
	}
}
