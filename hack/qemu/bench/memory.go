package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	kernelv1 "github.com/cyvive/cyvive/api/proto/kernel/v1"
	"github.com/cyvive/cyvive/hack/qemu/bench/ramroot"
	"github.com/cyvive/cyvive/hack/qemu/cluster"
	"github.com/cyvive/cyvive/hack/qemu/vm"
	"github.com/cyvive/cyvive/internal/machined/config"
)

// RootMemory is the memory in use (MemTotal - MemAvailable) of a node without a cluster, by where its root is.
type RootMemory struct {
	// VerityBytes is with the root on the disk, as nodes have it; RAMBytes with the same root, uncompressed as it is, in memory.
	VerityBytes int64 `json:"verityBytes"`
	RAMBytes    int64 `json:"ramBytes"`
	// RootBytes is the root with its hash tree.
	RootBytes int64 `json:"rootBytes"`
}

const (
	// rootMemoryBytes is the memory of both machines: an initramfs with the root in it is there twice while it is unpacked.
	rootMemoryBytes = 2 << 30
	// memorySettle is the pause before memory is looked at, memoryTime for how long it is.
	memorySettle = 2 * time.Minute
	memoryTime   = time.Minute
)

func (o Options) memory(ctx context.Context) (*RootMemory, error) {
	image := o.Cluster.ImageDir
	r := &RootMemory{}
	for _, name := range []string{"root.erofs", "root.verity"} {
		info, err := os.Stat(filepath.Join(image, name))
		if err != nil {
			return nil, err
		}
		r.RootBytes += info.Size()
	}
	var err error
	onDisk := func(path string) (string, error) {
		data, err := os.ReadFile(filepath.Join(image, "initramfs.zst"))
		if err != nil {
			return "", err
		}
		return "", os.WriteFile(path, data, 0o644)
	}
	if r.VerityBytes, err = o.memoryOf(ctx, "bench-verity", onDisk, nil); err != nil {
		return r, fmt.Errorf("measure memory with the root on verity: %w", err)
	}
	inMemory := func(path string) (string, error) {
		return "rdinit=" + ramroot.GuestPath, ramroot.WriteInitramfs(path, image, o.RAMRoot)
	}
	// No disk but the one with the configuration.
	none := func(string) []vm.Disk { return nil }
	if r.RAMBytes, err = o.memoryOf(ctx, "bench-ram", inMemory, none); err != nil {
		return r, fmt.Errorf("measure memory with the root in RAM: %w", err)
	}
	return r, nil
}

// memoryOf starts a node with an initramfs and looks at its memory, as the node itself tells it.
func (o Options) memoryOf(ctx context.Context, name string, initramfs func(string) (string, error), disks func(string) []vm.Disk) (int64, error) {
	o.say("memory: %s", name)
	t, err := o.traveller(ctx, name, func(c *cluster.Options) {
		c.MemoryBytes, c.Initramfs, c.Disks = rootMemoryBytes, initramfs, disks
	}, func(cfg *config.Config) { cfg.Cluster = nil })
	if err != nil {
		return 0, err
	}
	defer t.close(ctx)
	conn, err := t.api.dial()
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err := rest(ctx, memorySettle); err != nil {
		return 0, err
	}
	var used, samples int64
	for began := time.Now(); time.Since(began) < memoryTime; samples++ {
		resp, err := kernelv1.NewKernelServiceClient(conn).GetStats(ctx, &kernelv1.GetStatsRequest{})
		if err != nil {
			return 0, err
		}
		m := resp.GetStats().GetMemory()
		if m.GetTotalBytes() == 0 || m.GetAvailableBytes() > m.GetTotalBytes() {
			return 0, fmt.Errorf("the node says that its memory is %v", m)
		}
		used += int64(m.GetTotalBytes() - m.GetAvailableBytes())
		if err := rest(ctx, memoryTime/10); err != nil {
			return 0, err
		}
	}
	if samples == 0 {
		return 0, errors.New("memory was not looked at")
	}
	o.say("memory: %s: %d MB", name, used/samples/mb)
	return used / samples, nil
}

// rest waits.
func rest(ctx context.Context, length time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(length):
		return nil
	}
}
