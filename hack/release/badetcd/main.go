// Command badetcd takes the place of etcd in a release that a test or a measurement expects to be taken back: it fills the data volume, whose room it
// gives back when it ends, since its file has no name. It runs as etcd's container of a virtual machine and nowhere else.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// dataDir is etcd's in its container (internal/etcd, member.go).
const dataDir = "/var/lib/etcd"

// again is how long it waits until it takes what others have given back.
const again = 5 * time.Second

func main() {
	err := run(os.Getpid(), os.Args)
	fmt.Fprintln(os.Stderr, "badetcd:", err)
	os.Exit(1)
}

// run returns why the program ends.
func run(pid int, args []string) error {
	if pid != 1 || filepath.Base(args[0]) != "etcd" || !slices.Contains(args, "--data-dir="+dataDir) {
		return errors.New("refused to start: this is not etcd's container of a node under test")
	}
	f, err := os.CreateTemp(dataDir, "full")
	if err != nil {
		return err
	}
	if err := os.Remove(f.Name()); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "badetcd: takes all room of the data volume")
	for size := int64(0); ; time.Sleep(again) {
		if size, err = fill(f, size); err != nil {
			return err
		}
	}
}

// fill makes a file so long that no room is left beside it. It takes half of what is left again and again, without writing it.
func fill(f *os.File, size int64) (int64, error) {
	var fs unix.Statfs_t
	for {
		if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
			return size, err
		}
		more := int64(fs.Bavail) * fs.Bsize
		if more == 0 {
			return size, nil
		}
		err := unix.Fallocate(int(f.Fd()), 0, size, more)
		for errors.Is(err, unix.ENOSPC) && more > fs.Bsize {
			more = max(more/2, fs.Bsize)
			err = unix.Fallocate(int(f.Fd()), 0, size, more)
		}
		if errors.Is(err, unix.ENOSPC) {
			return size, nil
		}
		if err != nil {
			return size, fmt.Errorf("take %d bytes: %w", more, err)
		}
		size += more
	}
}
