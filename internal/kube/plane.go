package kube

import (
	"time"

	"github.com/cyvive/cyvive/internal/container"
)

// workloadPlane returns the container of namespace kubelet: what pods take for
// the host. Everything bound from the node is bound "rslave": what the node
// mounts later appears in the plane, and nothing that the plane mounts appears on
// the node, so that ending the plane leaves nothing behind.
func workloadPlane(spec Spec, l Layout) container.Spec {
	return container.Spec{
		Name:   plane,
		Rootfs: l.Plane,
		Args:   []string{"/usr/bin/init", "plane"},
		Env:    []string{"PATH=/usr/bin", "CYVIVE_PLANE=1"},
		Mounts: []container.Mount{
			container.Tmpfs("/tmp", 256<<20, "1777"),
			container.Bind(l.PlaneRun, "/run", "rslave", "nosuid", "nodev"),
			container.Bind(l.PlaneVar, "/var", "rslave", "nosuid", "nodev"),
			container.Bind(l.Secrets+"/"+plane, "/etc/kubernetes", "ro", "nosuid", "nodev", "noexec"),
			container.Bind(l.PlaneCNI, "/etc/cni/net.d", "ro", "nosuid", "nodev", "noexec"),
			container.Bind(l.PlaneRegistries, "/etc/containerd/certs.d", "ro", "nosuid", "nodev", "noexec"),
		},
		// Below /workload, which is init's and outlives the plane: what the node
		// attaches there is for every plane.
		Cgroup:         "/workload/plane",
		MemoryMinBytes: 128 << 20,
		CPUWeight:      100,
		Hostname:       spec.NodeName,
		Plane:          true,
		StopTimeout:    40 * time.Second,
		Revision:       revision(spec),
	}
}
