package boot

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/machined/supervise"
	"github.com/cyvive/cyvive/internal/storage/zfs/kstat"
)

// zpool is the program on the image.
const zpool = "/usr/bin/zpool"

// exportPools exports all pools, of which nothing is mounted any more, so that they are known to have been left in order. Nothing that was written is
// lost by one that is not exported.
func exportPools(ctx context.Context, r *supervise.Reaper) error {
	pools, err := kstat.Pools("/proc")
	if err != nil || len(pools) == 0 {
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
