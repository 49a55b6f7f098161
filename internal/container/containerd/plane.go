package containerd

import (
	"io/fs"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// planeDevices are the device nodes of the workload plane beyond those that runc
// gives every container (null, zero, full, random, urandom, tty, ptmx, pts,
// console): kernel messages for kubelet's out-of-memory watcher, FUSE and TUN for
// pods that bring file systems and tunnels. Numbers: the kernel's
// Documentation/admin-guide/devices.txt. No block device is here, and the rule
// of the plane's cgroup holds for every cgroup below it, so no pod, however
// privileged, can open one.
var planeDevices = [...]struct {
	path         string
	major, minor int64
	access       string
	mode         fs.FileMode
}{
	{"/dev/kmsg", 1, 11, "r", 0o600},
	{"/dev/fuse", 10, 229, "rw", 0o666},
	{"/dev/net/tun", 10, 200, "rw", 0o666},
}

// planeIsolation makes spec the workload plane: a host of its own for all that
// runs in it, save the network, which is the node's.
func planeIsolation(spec *specs.Spec) {
	spec.Linux.Namespaces = isolate(specs.PIDNamespace, specs.MountNamespace, specs.IPCNamespace,
		specs.UTSNamespace, specs.CgroupNamespace)
	// Mounts made in the plane must reach its pods. They do not reach the node:
	// what comes from there is bound "rslave", and this adds a peer group of the
	// plane's own.
	spec.Linux.RootfsPropagation = "rshared"
	spec.Mounts = []specs.Mount{
		{Source: "proc", Destination: "/proc", Type: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Source: "tmpfs", Destination: "/dev", Type: "tmpfs", Options: []string{"nosuid", "noexec", "strictatime", "mode=755", "size=1m"}},
		{Source: "devpts", Destination: "/dev/pts", Type: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Source: "shm", Destination: "/dev/shm", Type: "tmpfs", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=64m"}},
		{Source: "mqueue", Destination: "/dev/mqueue", Type: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Source: "sysfs", Destination: "/sys", Type: "sysfs", Options: []string{"nosuid", "noexec", "nodev"}},
		{Source: "cgroup", Destination: "/sys/fs/cgroup", Type: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "rw"}},
		{Source: "bpf", Destination: "/sys/fs/bpf", Type: "bpf", Options: []string{"nosuid", "noexec", "nodev", "mode=0700"}},
	}
	for _, d := range planeDevices {
		major, minor, mode, root := d.major, d.minor, d.mode, uint32(0)
		spec.Linux.Devices = append(spec.Linux.Devices, specs.LinuxDevice{
			Path: d.path, Type: "c", Major: major, Minor: minor, FileMode: &mode, UID: &root, GID: &root,
		})
		spec.Linux.Resources.Devices = append(spec.Linux.Resources.Devices, specs.LinuxDeviceCgroup{
			Allow: true, Type: "c", Major: &major, Minor: &minor, Access: d.access + "m",
		})
	}
}
