package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// scratch is the pod's own volume.
const scratch = "/scratch"

const (
	blockBytes  = 4 << 20
	memoryBytes = 64 << 20
	// fileBytes is what a file of the hog of inodes holds. ZFS has as many inodes as there is
	// room for: without a content, there would be millions before there are no more.
	fileBytes = 64 << 10
	// again is the pause before a hog that got no more tries once more.
	again = 100 * time.Millisecond
)

var once sync.Once

// full tells, the first time, that there is no more, and waits a little: by the
// kernel, since Go's own timers want a descriptor, which may be what there is no more of.
func full(err error) {
	once.Do(func() { fmt.Println("no more:", err) })
	pause := unix.NsecToTimespec(again.Nanoseconds())
	_ = unix.Nanosleep(&pause, nil)
}

// noise is content that takes as much room as it has bytes: of what compresses, such as
// zeros, ZFS keeps less, or nothing.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // it never fails (crypto/rand)
	return b
}

// hogs take all that they get of one thing, keep it, and ask for more until they
// are killed.
var hogs = map[string]func(){
	"memory": func() {
		// The kernel fills the pages, so that a little of a processor is enough.
		for {
			_, err := unix.Mmap(-1, 0, memoryBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
			if err != nil {
				full(err)
			}
		}
	},
	"processes": func() {
		for {
			if err := fork(); err != nil {
				full(err)
			}
		}
	},
	"descriptors": func() {
		// The limit of one process (2^20, internal/container/containerd) is more than
		// the kernel by itself lets there be on a machine of under 10 GB: a tenth of the
		// memory in kB.
		for {
			if _, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
				full(err)
			}
		}
	},
	"inodes": func() {
		content := noise(fileBytes)
		for folder := 0; ; folder++ {
			dir := filepath.Join(scratch, fmt.Sprint(folder))
			err := os.Mkdir(dir, 0o700)
			for file := 0; err == nil && file < 10000; file++ {
				err = os.WriteFile(filepath.Join(dir, fmt.Sprint(file)), content, 0o600)
			}
			if err != nil {
				full(err)
			}
		}
	},
	"disk": func() {
		block := noise(blockBytes)
		for file := 0; ; file++ {
			f, err := os.Create(filepath.Join(scratch, fmt.Sprint(file)))
			for err == nil {
				_, err = f.Write(block)
			}
			_ = f.Close()
			full(err)
		}
	},
}

// fork makes a process that waits until it is killed: the cheapest there is, so that
// what they are counted by is what runs out, and not processors or memory.
func fork() error {
	child, _, errno := unix.RawSyscall(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0)
	if errno != 0 {
		return errno
	}
	for child == 0 { // only this thread is in it, so that nothing of Go's runtime may be called
		unix.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
	}
	return nil
}
