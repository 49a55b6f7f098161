package boot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/machined/supervise"
)

// zpool is the program on the image.
const zpool = "/usr/bin/zpool"

// poolsDir has a folder for each pool that is imported (module/os/linux/spl/spl-kstat.c; OpenZFS 2.3).
const poolsDir = "/proc/spl/kstat/zfs"

// exportPools exports all pools, of which nothing is mounted any more, so that they are known to have been left in order. Nothing that was written is
// lost by one that is not exported.
func exportPools(ctx context.Context, r *supervise.Reaper) error {
	some, err := havePools(poolsDir)
	if err != nil || !some {
		return err
	}
	// What it has to say goes to the kernel's log: there is no other any more.
	log, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("open kernel log: %w", err)
	}
	defer log.Close()
	p, err := r.Start(supervise.Command{Path: zpool, Args: []string{zpool, "export", "-a"}, Env: []string{"LC_ALL=C", "PATH=/usr/bin"}, Output: log})
	if err != nil {
		return fmt.Errorf("start zpool export: %w", err)
	}
	select {
	case <-ctx.Done():
		_ = p.Signal(unix.SIGKILL)
		return fmt.Errorf("wait for zpool export: %w", ctx.Err())
	case <-p.Done():
	}
	if e := p.Exit(); !e.Status.Exited() || e.Status.ExitStatus() != 0 {
		return fmt.Errorf("export pools: zpool %s", e)
	}
	return nil
}

// havePools says whether a pool is imported: beside the pools there are files only.
func havePools(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("list pools: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() {
			return true, nil
		}
	}
	return false, nil
}
