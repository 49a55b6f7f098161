package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/kube"
	"github.com/cyvive/cyvive/internal/machined"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage/arc/module"
	"github.com/cyvive/cyvive/internal/storage/blockdev"
	"github.com/cyvive/cyvive/internal/storage/mount"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/pool/zpool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/command"
	"github.com/cyvive/cyvive/internal/storage/zfs/hostid"
)

const (
	// zfsDevice is there when the kernel's module is loaded (zfs_misc in module/os/linux/zfs/zfs_ioctl_os.c, OpenZFS 2.3), which init does before it starts the agent.
	zfsDevice = "/dev/zfs"
	// reservedFile keeps for the boot what kubelet leaves to the memory of ZFS.
	reservedFile = "/run/cyvive/pool-cache"
	mountinfo    = "/proc/self/mountinfo"
)

// programs are those of OpenZFS on the image. All parts of the agent share one, which knows those that could not be ended.
func programs() command.Runner {
	return command.Runner{ZFSPath: "/usr/bin/zfs", ZpoolPath: "/usr/bin/zpool", Held: command.NewHeld()}
}

// poolsOf makes what looks after the node's pools, with the programs of OpenZFS. System is the kernel's name of the disk that the node runs from, and vault what encrypts
// others, or nil. On a node whose kernel has no OpenZFS it is nil, with the reason.
func poolsOf(
	log *slog.Logger, run command.Runner, disk *blockdev.Disk, vault machined.DiskVault, hardware server.Inventory, system, state string,
) (*machined.Pools, string) {
	if _, err := os.Stat(zfsDevice); err != nil {
		why := fmt.Sprintf("its kernel module is not loaded (%v), of which init's log and the kernel's have the reason", err)
		log.Error("pools of ZFS are not looked after", "reason", why)
		return nil, why
	}
	control := zpool.New(zpool.RunnerFunc(run.Zpool))
	datasets := command.NewSystem(run)
	devices := machined.PoolDisks{Inventory: hardware, System: system, Kernel: diskKernel{disk}, Vault: vault}
	return &machined.Pools{
		Domain: &machined.PoolHost{
			PoolDomain: pool.New(control, devices, machined.PoolMemory{Path: filepath.Join(state, "pools.json")}, time.Now),
			MachineID:  filepath.Join(state, "machine-id"), Tell: func(id string) error { return hostid.Set("/sys", hostid.Of(id)) },
		},
		Control: control, Events: run.Events,
		Cache: module.Files{Proc: "/proc", Sys: "/sys"}, MemoryBytes: memoryBytes(log), Reserved: reservedFile,
		Datasets: mount.NewSystem(datasets), Diff: podDiff(datasets.Diff),
		Mounts: mount.Below{Root: kube.NodeLayout().PlaneVar, Seen: "/var", Within: config.MountRoot},
	}, ""
}

// podDiff has the paths of a comparison as pods see them, who have the plane's /var.
func podDiff(diff func(ctx context.Context, from, to string) ([]zfs.Change, bool, error)) func(ctx context.Context, from, to string) ([]zfs.Change, bool, error) {
	seen := func(path string) string {
		if below, ok := strings.CutPrefix(path, kube.NodeLayout().PlaneVar+"/"); ok {
			return "/var/" + below
		}
		return path
	}
	return func(ctx context.Context, from, to string) ([]zfs.Change, bool, error) {
		changes, more, err := diff(ctx, from, to)
		for i, c := range changes {
			changes[i].Path, changes[i].NewPath = seen(c.Path), seen(c.NewPath)
		}
		return changes, more, err
	}
}

// memoryBytes is what the kernel has to give. 0, where it does not say, has the ARC kept at its floor.
func memoryBytes(log *slog.Logger) uint64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		log.Error("read the size of the memory: ZFS gets the least that it works with", "error", err)
		return 0
	}
	return info.Totalram * uint64(info.Unit)
}

// diskKernel implements machined.DiskKernel.
type diskKernel struct{ disk *blockdev.Disk }

// Look implements machined.DiskKernel.
func (k diskKernel) Look(d *pool.Disk) error { return k.disk.LookForPool(d, mountinfo) }

// Hold implements machined.DiskKernel.
func (k diskKernel) Hold(device string) (sequence uint64, release func() error, err error) {
	w, err := blockdev.Hold(device)
	if err != nil {
		return 0, nil, err
	}
	return w.Sequence, w.Close, nil
}

// Prepare implements machined.DiskKernel.
func (k diskKernel) Prepare(ctx context.Context, device string, sequence uint64) (string, error) {
	return k.disk.PreparePool(ctx, device, sequence)
}

// Grow implements machined.DiskKernel. PreparePool makes one partition.
func (k diskKernel) Grow(ctx context.Context, device string) error {
	return k.disk.Grow(ctx, device, 1)
}
