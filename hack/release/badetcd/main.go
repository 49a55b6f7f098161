// Command badetcd takes the place of etcd in a release that a test or a measurement expects to be taken back: it fills the data volume, whose room it
// gives back when it ends, since its file has no name. It runs as etcd's container of a virtual machine and nowhere else.
package main

import (
	"crypto/rand"
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

const (
	// again is how long it waits until it takes what others have given back.
	again = 5 * time.Second
	// blockBytes is how much it takes at once.
	blockBytes = 1 << 20
)

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
	noise := make([]byte, blockBytes)
	_, _ = rand.Read(noise) // it never fails (crypto/rand)
	for size := int64(0); ; time.Sleep(again) {
		if size, err = fill(f, noise, size); err != nil {
			return err
		}
	}
}

// fill writes a file on until no room is left beside it. ZFS keeps no room for what is not written (zpl_fallocate_common in module/os/linux/zfs/zpl_file.c of OpenZFS
// 2.3), nor for what compresses.
func fill(f *os.File, noise []byte, size int64) (int64, error) {
	for {
		n, err := f.WriteAt(noise, size)
		size += int64(n)
		if errors.Is(err, unix.ENOSPC) {
			return size, nil
		}
		if err != nil {
			return size, fmt.Errorf("take room behind byte %d: %w", size, err)
		}
	}
}
