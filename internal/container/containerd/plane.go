package containerd

import (
	"runtime"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cyvive/cyvive/internal/confine"
)

// planeIsolation makes spec the workload plane: a host of its own for all that
// runs in it, save the network, which is the node's. What it
// may never do is in package confine.
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
	spec.Process.Capabilities = capabilities(confine.Capabilities(), false)
	spec.Linux.Seccomp = confine.Seccomp(runtime.GOARCH)
	for _, d := range confine.Devices() {
		major, minor, mode, root := d.Major, d.Minor, d.Mode, uint32(0)
		spec.Linux.Devices = append(spec.Linux.Devices, specs.LinuxDevice{
			Path: d.Path, Type: "c", Major: major, Minor: minor, FileMode: &mode, UID: &root, GID: &root,
		})
		spec.Linux.Resources.Devices = append(spec.Linux.Resources.Devices, specs.LinuxDeviceCgroup{
			Allow: true, Type: "c", Major: &major, Minor: &minor, Access: d.Access + "m",
		})
	}
	volumes := int64(confine.VolumeMajor)
	spec.Linux.Resources.Devices = append(spec.Linux.Resources.Devices, specs.LinuxDeviceCgroup{Allow: true, Type: "b", Major: &volumes, Access: "rwm"})
}
