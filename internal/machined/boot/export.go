package boot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/machined/supervise"
	"github.com/cyvive/cyvive/internal/storage/zfs/kstat"
)

// zpool is the program on the image.
const zpool = "/usr/bin/zpool"

// exportPools exports all pools, of which nothing is mounted any more, so that they are known to have been left in order. Nothing that was written is
// lost by one that is not exported. One from which something is unmounted still comes after the others, and only if that has ended: its export would wait with
// the lock on all pools held (spa_export_common in module/zfs/spa.c, OpenZFS 2.3.9), unless it is suspended already, which is refused.
func exportPools(pools []string, hangs func(pool string) bool, export func(args ...string) error) error {
	var late []string
	first := slices.DeleteFunc(slices.Clone(pools), func(pool string) bool {
		if hangs(pool) {
			late = append(late, pool)
		}
		return slices.Contains(late, pool)
	})
	switch {
	case len(pools) == 0:
		return nil
	case len(late) == 0:
		return export("-a")
	}
	var errs []error
	if len(first) > 0 {
		errs = append(errs, export(first...))
	}
	for _, pool := range late {
		if hangs(pool) {
			errs = append(errs, fmt.Errorf("pool %s is not exported: to unmount from it has not ended", pool))
			continue
		}
		errs = append(errs, export(pool))
	}
	return errors.Join(errs...)
}

// exportAll exports the pools of the machine. Hangs says that something is unmounted from one still.
func exportAll(ctx context.Context, r *supervise.Reaper, hangs func(pool string) bool) error {
	pools, err := kstat.Pools("/proc")
	if err != nil {
		return err
	}
	return exportPools(pools, hangs, func(args ...string) error { return runExport(ctx, r, args) })
}

// runExport runs zpool export.
func runExport(ctx context.Context, r *supervise.Reaper, args []string) error {
	// What it has to say goes to the kernel's log: there is no other any more.
	log, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("open kernel log: %w", err)
	}
	defer log.Close()
	p, err := r.Start(supervise.Command{Path: zpool, Args: append([]string{zpool, "export"}, args...), Env: []string{"LC_ALL=C", "PATH=/usr/bin"}, Output: log})
	if err != nil {
		return fmt.Errorf("start zpool export: %w", err)
	}
	select {
	case <-ctx.Done():
		_ = p.Signal(unix.SIGKILL)
		return fmt.Errorf("wait for zpool export %s: %w", strings.Join(args, " "), ctx.Err())
	case <-p.Done():
	}
	if e := p.Exit(); !e.Status.Exited() || e.Status.ExitStatus() != 0 {
		return fmt.Errorf("export pools: zpool export %s %s", strings.Join(args, " "), e)
	}
	return nil
}
