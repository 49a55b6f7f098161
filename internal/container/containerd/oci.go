package containerd

import (
	"slices"
	"strconv"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cyvive/cyvive/internal/container"
)

// groupAnnotation makes containerd-shim-runc-v2 serve every container that has
// the same value in one process (manager/manager_linux.go, groupLabels).
const groupAnnotation = "io.containerd.runc.v2.group"

// openFiles is RLIMIT_NOFILE of every container: etcd and the API server hold a
// descriptor for each client.
const openFiles = 1 << 20

// ociSpec returns the OCI configuration of s.
func ociSpec(s container.Spec, namespace string) *specs.Spec {
	score := s.OOMScoreAdj
	spec := &specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Path: s.Rootfs, Readonly: true},
		Process: &specs.Process{
			User:            specs.User{UID: s.UID, GID: s.GID},
			Args:            s.Args,
			Env:             s.Env,
			Cwd:             workingDir(s),
			Capabilities:    capabilities(s.Capabilities, s.UID != 0),
			Rlimits:         []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: openFiles, Soft: openFiles}},
			NoNewPrivileges: !s.Plane,
			OOMScoreAdj:     &score,
		},
		Hostname:    s.Hostname,
		Annotations: map[string]string{groupAnnotation: namespace},
		Linux: &specs.Linux{
			CgroupsPath: s.Cgroup,
			Resources: &specs.LinuxResources{
				Unified: unified(s),
				Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}},
			},
		},
	}
	if s.Plane {
		planeIsolation(spec)
	} else {
		systemIsolation(spec)
	}
	for _, m := range s.Mounts {
		spec.Mounts = append(spec.Mounts, specs.Mount{
			Source: m.Source, Destination: m.Destination, Type: m.Type, Options: slices.Clone(m.Options),
		})
	}
	return spec
}

// systemIsolation gives a system container what it shares with nobody but the
// node's network, and nothing to write to.
func systemIsolation(spec *specs.Spec) {
	spec.Hostname = "" // shares the node's UTS namespace
	spec.Mounts = []specs.Mount{
		{Source: "proc", Destination: "/proc", Type: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Source: "tmpfs", Destination: "/dev", Type: "tmpfs", Options: []string{"nosuid", "noexec", "strictatime", "mode=755", "size=65536k"}},
		{Source: "sysfs", Destination: "/sys", Type: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
	}
	spec.Linux.Namespaces = isolate(specs.PIDNamespace, specs.MountNamespace, specs.IPCNamespace, specs.CgroupNamespace)
	spec.Linux.MaskedPaths = []string{
		"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
		"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
	}
	spec.Linux.ReadonlyPaths = []string{
		"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
	}
	spec.Linux.Seccomp = seccomp.DefaultProfile(spec)
}

func workingDir(s container.Spec) string {
	if s.WorkingDir == "" {
		return "/"
	}
	return s.WorkingDir
}

// capabilities puts the set where it bounds and takes effect. A user other than root
// keeps it over execve(2) only where it is ambient too (capabilities(7)); for root
// nothing is inheritable or ambient.
func capabilities(set []string, ambient bool) *specs.LinuxCapabilities {
	c := &specs.LinuxCapabilities{
		Bounding:  slices.Clone(set),
		Effective: slices.Clone(set),
		Permitted: slices.Clone(set),
	}
	if ambient {
		c.Inheritable, c.Ambient = slices.Clone(set), slices.Clone(set)
	}
	return c
}

// unified returns the cgroup2 files to write (Documentation/admin-guide/cgroup-v2.rst).
func unified(s container.Spec) map[string]string {
	files := map[string]string{}
	if s.MemoryMinBytes > 0 {
		files["memory.min"] = strconv.FormatUint(s.MemoryMinBytes, 10)
	}
	if s.CPUWeight > 0 {
		files["cpu.weight"] = strconv.FormatUint(s.CPUWeight, 10)
	}
	return files
}

func isolate(types ...specs.LinuxNamespaceType) []specs.LinuxNamespace {
	list := make([]specs.LinuxNamespace, 0, len(types))
	for _, t := range types {
		list = append(list, specs.LinuxNamespace{Type: t})
	}
	return list
}
