package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/mdlayher/vsock"
	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/confine/lsm"
	"github.com/cyvive/cyvive/internal/container/containerd"
	"github.com/cyvive/cyvive/internal/etcd"
	extservice "github.com/cyvive/cyvive/internal/extension/service"
	"github.com/cyvive/cyvive/internal/kube"
	"github.com/cyvive/cyvive/internal/machined"
	"github.com/cyvive/cyvive/internal/machined/boot/cmdline"
	"github.com/cyvive/cyvive/internal/machined/boot/marker"
	"github.com/cyvive/cyvive/internal/machined/boot/timeline"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/hold"
	"github.com/cyvive/cyvive/internal/machined/keptlog"
	"github.com/cyvive/cyvive/internal/machined/nocloud"
	"github.com/cyvive/cyvive/internal/machined/reconcile"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/server/auditlog"
	"github.com/cyvive/cyvive/internal/machined/server/files"
	"github.com/cyvive/cyvive/internal/machined/server/inventory"
	"github.com/cyvive/cyvive/internal/machined/server/inventory/device"
	"github.com/cyvive/cyvive/internal/machined/server/kmsg"
	"github.com/cyvive/cyvive/internal/machined/server/procfs"
	"github.com/cyvive/cyvive/internal/machined/server/ringlog"
	"github.com/cyvive/cyvive/internal/machined/server/workload"
	"github.com/cyvive/cyvive/internal/machined/source"
	"github.com/cyvive/cyvive/internal/machined/supervise/control"
	"github.com/cyvive/cyvive/internal/network"
	"github.com/cyvive/cyvive/internal/network/bpf"
	"github.com/cyvive/cyvive/internal/network/dhcp"
	"github.com/cyvive/cyvive/internal/network/rtnl"
	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/blockdev"
	"github.com/cyvive/cyvive/internal/storage/loader"
	"github.com/cyvive/cyvive/internal/storage/mount"
)

const (
	logDir   = "/run/cyvive/log"
	stateDir = "/state"
	// keptDir holds the logs of services and of the kernel over the end of a boot; the plane sees neither it nor what is above.
	keptDir = "/var/log/services"
	// planeRun is /run of the workload plane: whoever is root there can write in it.
	planeRun = "/run/cyvive/plane"
	// auditDir holds the audit log until the state volume is there.
	auditDir = "/run/cyvive/audit"
	// ownerFile names the owner of the nodes of this image; whoever builds one may put it there.
	ownerFile = "/usr/lib/cyvive/owner.pem"
	// anyContextID is VMADDR_CID_ANY of vsock(7).
	anyContextID = 0xffffffff
	// auditBytes is half of what is kept of the API's calls, out of the 64 MiB of the state volume: a call is some 500.
	auditBytes = 8 << 20
)

// adapters makes everything that touches the machine. The returned function releases it.
func adapters(log *slog.Logger, m marker.Marker) (machined.Config, func(), error) {
	boot, floor, err := bootFacts(m)
	if err != nil {
		return machined.Config{}, nil, err
	}
	args, err := cmdline.Read()
	if err != nil {
		return machined.Config{}, nil, err
	}
	host, err := rtnl.Open("/run/cyvive/resolv.conf")
	if err != nil {
		return machined.Config{}, nil, err
	}
	networkWake := reconcile.NewWaker()
	leases := dhcp.New(dhcp.Wire{}, networkWake.Wake, log.With("part", "dhcp"))
	init := control.Dial(control.DefaultPath)
	runtimes, err := openRuntimes(init, log)
	if err != nil {
		return machined.Config{}, nil, err
	}
	audit, err := auditlog.Open(auditDir, boot.ID, auditBytes, time.Now)
	if err != nil {
		return machined.Config{}, nil, err
	}
	held, err := hold.Open("/run/cyvive/stopped.json")
	if err != nil {
		return machined.Config{}, nil, err
	}
	disk := blockdev.New(blockdev.Tools{Mke2fs: "/usr/bin/mke2fs", E2fsck: "/usr/bin/e2fsck"}, "/run/cyvive/storage")
	bootPartition := loader.New(esp{disk, "/dev/" + m.Disk}.open)
	hardware := inventory.New("/", device.Devices{Dir: "/dev"}, time.Now)
	facts := source.ReadFacts("/sys", args)
	crypt := volumesOf(log, disk, bootPartition, m.Slot, facts.UUID)
	boot.Encrypts, boot.TPM = true, hasTPM()
	extensions := extensionsOf(log, boot.Version)
	zfs := programs()
	pools, noPools := poolsOf(log.With("part", "pools"), zfs, disk, crypt, hardware, m.Disk, stateDir)
	services := bpf.New(bpf.DefaultDir, bpf.DefaultCgroup)
	rings := []keptlog.Ring{
		{Source: ringlog.Source{Dir: logDir}, MaxLogs: 44},
		{Source: ringlog.Source{Dir: planeRun + "/log", Within: planeRun, Prefix: "plane/"}, MaxLogs: 4},
	}
	kernelLog := kmsg.NewCursor(kmsg.Path)
	done := func() {
		_ = kernelLog.Close() // opened for reading
		_ = services.Close()  // what is attached goes on
		leases.Close()
		host.Close()
		for _, r := range runtimes {
			_ = r.Close() // a connection; what runs goes on
		}
		_ = audit.Close()
	}
	return machined.Config{
		// What goes to standard error is shown on the console by init.
		Log: log, Audit: audit, Console: os.Stderr, Boot: boot, StateDir: stateDir, MachineID: "/run/cyvive/machine-id",
		Source:  sources(facts),
		Network: network.New(host, leases, services),
		Storage: storage.New(disk, mount.Mounts{}, nodePool(zfs), crypt), Vault: crypt,
		Pools: pools, NoPools: noPools,
		Etcd: etcd.New(etcd.Config{Containers: held.Runtime(runtimes[0]), Layout: etcd.NodeLayout(), Held: held.Names}),
		Kube: kube.New(kube.Config{
			System: held.Runtime(runtimes[0]), Kubelet: held.Runtime(runtimes[1]), Images: runtimes[2], Layout: kube.NodeLayout(), Held: held.Names,
			Empty: func(f kube.FileSystem) error { return mount.Fresh(f.Dir, f.Mode, f.SizeBytes) },
		}),
		CSI:        csiDriver(log, zfs, boot.Version.OS),
		Extensions: extensions,
		ExtensionServices: extservice.New(extservice.Config{
			Containers: held.Runtime(runtimes[0]), Layout: extservice.NodeLayout(), Held: held.Names,
		}),
		Sums:     sumsIn("/run/cyvive/snapshots"),
		Services: kube.NewServiceWatch(log.With("part", "services")),
		Cluster:  kube.NewCluster(time.Now),
		Clock:    kernelClock{},
		Timeline: fileTimeline{}, Init: init,
		Confine: func(p config.Profile) error { return lsm.Enforce(lsm.Node(), p == config.ProfileStrict) },
		System:  runtimes[0], Plane: runtimes[1], Pods: runtimes[2],
		Programs: func() ([]server.Service, error) {
			return workload.List("/proc", workload.Programs(bpf.DefaultCgroup+"/plane"), boot.StartedAt)
		},
		Terminate:   func(pid uint32) error { return unix.Kill(int(pid), unix.SIGTERM) },
		Held:        held,
		Kernel:      procfs.New(boot.StartedAt),
		Files:       files.Reader{Root: "/", Secret: []string{stateDir}},
		SBOM:        func() (io.ReadCloser, error) { return os.Open("/usr/lib/cyvive/sbom.spdx.json") },
		Upgrades:    upgrades(log, disk, bootPartition, m, floor),
		Installs:    installs(log, disk, m, boot.Version, hardware, bootPartition, crypt),
		Resets:      resets(disk, m),
		Crash:       crashes(boot.ID).Take,
		Crashes:     crashes(boot.ID),
		Inventory:   hardware,
		More:        listenVsock,
		Dmesg:       kmsg.New(kmsg.Path),
		Logs:        ringlog.New(rings[0].Source, rings[1].Source),
		Kept:        keptlog.New(keptlog.Config{Dir: keptDir, Places: "/run/cyvive/logs-kept.json", Boot: boot.ID, Rings: rings, Kernel: kernelLog}),
		Listen:      func() (net.Listener, error) { return net.Listen("tcp", fmt.Sprintf(":%d", server.Port)) },
		NetworkWake: networkWake,
		Watchers:    []func(context.Context) error{func(ctx context.Context) error { return rtnl.Watch(ctx, networkWake.Wake) }},
	}, done, nil
}

// sources are the places of this machine's configuration.
func sources(facts source.Facts) machined.Source {
	return source.New(source.Config{
		Facts: facts, Sys: "/sys", Image: ownerFile, NoCloud: nocloud.Source{}, ConfigDrive: nocloud.ConfigDrive{},
	})
}

// listenVsock opens the API's port to the machine's host: vsock needs no network.
// A machine without a virtio or VMCI device for it has no such socket.
func listenVsock() (net.Listener, error) {
	l, err := vsock.ListenContextID(anyContextID, server.Port, nil)
	if err != nil {
		return nil, fmt.Errorf("listen on vsock: %w", err)
	}
	return l, nil
}

// openRuntimes returns the runtimes of the namespaces system, kubelet and k8s.io.
func openRuntimes(logs containerd.LogOpener, log *slog.Logger) ([]*containerd.Runtime, error) {
	const system, plane = "/run/cyvive/containerd/containerd.sock", planeRun + "/containerd/containerd.sock"
	var out []*containerd.Runtime
	for _, r := range []struct{ socket, within, namespace string }{{system, "", "system"}, {system, "", "kubelet"}, {plane, planeRun, "k8s.io"}} {
		runtime, err := containerd.New(containerd.Config{
			Socket: r.socket, Within: r.within, Namespace: r.namespace, Logs: logs, Logger: log.With("namespace", r.namespace),
		})
		if err != nil {
			return nil, err
		}
		out = append(out, runtime)
	}
	return out, nil
}

// bootFacts returns what runs, and the oldest version that it may be replaced by.
func bootFacts(m marker.Marker) (boot machined.Boot, floor string, err error) {
	data, err := os.ReadFile("/usr/lib/cyvive/release.json")
	if err != nil {
		return machined.Boot{}, "", fmt.Errorf("read release: %w", err)
	}
	release, err := machined.ParseRelease(data)
	if err != nil {
		return machined.Boot{}, "", err
	}
	version := release.Version
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return machined.Boot{}, "", fmt.Errorf("read boot ID: %w", err)
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return machined.Boot{}, "", fmt.Errorf("read kernel release: %w", err)
	}
	var built time.Time // without one, servers may tell any time
	if info, err := os.Stat("/etc/os-release"); err == nil {
		built = info.ModTime()
	}
	version.KernelRelease, version.RootHash, version.Slot = unix.ByteSliceToString(uts.Release[:]), m.RootHash, m.Slot
	return machined.Boot{
		ID: strings.TrimSpace(string(id)), StartedAt: time.Now().Add(-timeline.Now()), Version: version, Disk: "/dev/" + m.Disk, Medium: m.Medium,
		BuiltAt: built,
	}, release.Floor, nil
}

// fileTimeline is the timeline file that init began.
type fileTimeline struct{}

func (fileTimeline) Read() ([]timeline.Milestone, error) { return timeline.Read(timeline.DefaultPath) }
func (fileTimeline) Append(m timeline.Milestone) error {
	return timeline.Append(timeline.DefaultPath, m)
}
func (fileTimeline) Now() time.Duration { return timeline.Now() }
