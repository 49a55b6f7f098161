package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cyvive/cyvive/internal/confine/lsm"
	"github.com/cyvive/cyvive/internal/csi"
	"github.com/cyvive/cyvive/internal/csi/mounter"
	"github.com/cyvive/cyvive/internal/csi/node"
	"github.com/cyvive/cyvive/internal/csi/pools"
	"github.com/cyvive/cyvive/internal/kube"
	"github.com/cyvive/cyvive/internal/machined/boot/kmod"
	"github.com/cyvive/cyvive/internal/storage/mount"
	"github.com/cyvive/cyvive/internal/storage/zfs/command"
)

const (
	// kubeletCgroup is where the plane's init puts kubelet (package boot/plane), in the plane's group (package kube, plane.go).
	kubeletCgroup = "/workload/plane/kubelet"
	// refusalEvery is how often the log tells that somebody else knocks at kubelet's socket, which may be as often as a pod likes.
	refusalEvery = time.Minute
)

// csiDriver makes what runs the node's CSI driver.
func csiDriver(log *slog.Logger, zfs command.Runner, version string) *node.Runner {
	log = log.With("part", "csi")
	layout := kube.NodeLayout()
	tools := mounter.Tools{Mke2fs: "/usr/bin/mke2fs", E2fsck: "/usr/bin/e2fsck"}
	kubelet := mounter.New(filepath.Join(layout.PlaneVar, "lib/kubelet"), tools, mounter.Devices{
		KubeletDir: csi.KubeletDir, List: lsm.VolumesOf(lsm.Node()), Load: loadLoops,
	})
	refused := sometimes(refusalEvery, func(err error) {
		log.Warn("a process that is not kubelet has connected to the CSI driver's socket, and was cut off", "error", err)
	})
	return node.New(node.Config{
		Driver: csi.Config{
			Version: version, FileSystems: tools.FileSystems(), System: mount.NewSystem(command.NewSystem(zfs)), Mounts: kubelet, Pools: pools.New(pools.Kstats, zfs), Logger: log,
		},
		Kubelet: kubelet,
		Guard:   func(l net.Listener) net.Listener { return mounter.Of(l, kubeletCgroup, refused) },
		Controllers: func() (net.Listener, error) {
			return listenGroup(filepath.Join(layout.CSI, kube.VolumeSocket), kube.CSIControllersUID)
		},
		Logger: log,
	})
}

// loadLoops loads the driver of loop devices.
func loadLoops() error {
	modules, err := kmod.Open("/usr/lib/modules")
	if err != nil {
		return err
	}
	return modules.Load("loop")
}

// sometimes passes an error on unless one was passed on just before. What it returns may be called concurrently.
func sometimes(every time.Duration, tell func(error)) func(error) {
	var mu sync.Mutex
	var last time.Time
	return func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); last.IsZero() || now.Sub(last) >= every {
			last = now
			tell(err)
		}
	}
}

// listenGroup makes a socket in place of one that is there, to which root and a group may connect, in a directory that they alone may enter.
func listenGroup(path string, group int) (net.Listener, error) {
	dir := filepath.Dir(path)
	err := os.MkdirAll(dir, 0o750)
	if err == nil {
		err = errors.Join(os.Chown(dir, -1, group), os.Chmod(dir, 0o750))
	}
	if err != nil {
		return nil, fmt.Errorf("make directory of socket %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove what is in the place of socket %s: %w", path, err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("make socket %s: %w", path, err)
	}
	if err := errors.Join(os.Chown(path, -1, group), os.Chmod(path, 0o660)); err != nil {
		return nil, errors.Join(fmt.Errorf("give socket %s to group %d: %w", path, group, err), l.Close())
	}
	return l, nil
}
