package kube

import (
	"runtime"

	"github.com/cyvive/cyvive/internal/container"
)

// Layout is where the domain finds and puts things on the node.
type Layout struct {
	// Rootfs is the root of the control plane's containers, Plane that of the
	// workload plane.
	Rootfs, Plane string
	// Secrets holds one directory for each container, in memory.
	Secrets string
	// PlaneRun is /run of the workload plane and PlaneVar its /var. PlaneCNI holds the
	// CNI configuration, which the plane has bound: it is not in PlaneRun, where the
	// plane's root could put a link in its place, and have any folder of the node bound
	// at the plane's next start.
	PlaneRun, PlaneVar, PlaneCNI string
	// PlaneRegistries holds what the plane's containerd is told of registries, passwords among it; it is bound like PlaneCNI, and in memory.
	PlaneRegistries string
	// PodRange is the file that keeps the node's pod range over boots.
	PodRange string
	// Log holds the API server's audit log.
	Log string
	// Images holds the archives of the default bundle.
	Images string
	// Definitions holds the CustomResourceDefinitions of snapshots, and CSI the sockets of the node's CSI driver.
	Definitions, CSI string
	// ResolvConf and MachineID are the node's; the plane gets copies.
	ResolvConf, MachineID string
	// Processors of the node.
	Processors int
}

// NodeLayout is the layout of a node.
func NodeLayout() Layout {
	return Layout{
		Rootfs:   "/usr/lib/cyvive/rootfs/kubernetes",
		Plane:    "/usr/lib/cyvive/plane",
		Secrets:  "/run/cyvive/secrets",
		PlaneRun: "/run/cyvive/plane",
		PlaneVar: "/var/plane",
		PlaneCNI: "/run/cyvive/cni",

		PlaneRegistries: "/run/cyvive/registries",

		PodRange:    "/var/kube/pod-range.json",
		Log:         "/var/log",
		Images:      "/usr/lib/cyvive/images",
		Definitions: "/usr/lib/cyvive/definitions",
		CSI:         "/run/cyvive/csi",
		ResolvConf:  "/run/cyvive/resolv.conf",
		MachineID:   "/run/cyvive/machine-id",
		Processors:  runtime.NumCPU(),
	}
}

// The names of the containers; also those of their secrets directories.
const (
	apiServer         = "kube-apiserver"
	controllerManager = "kube-controller-manager"
	scheduler         = "kube-scheduler"
	csiControllers    = "csi-controllers"
	plane             = "plane"
)

// The users of the control plane's containers. They have no entry in any passwd
// file. The plane runs as root of its own namespaces.
const (
	apiServerUID         = 901
	controllerManagerUID = 902
	schedulerUID         = 903
	// CSIControllersUID is also the group that must be able to connect to the CSI driver's socket.
	CSIControllersUID = 904
)

// controlPlane returns the containers of namespace system, in start order.
func controlPlane(spec Spec, l Layout) []container.Spec {
	rev := revision(spec)
	base := func(name string, uid uint32, args []string) container.Spec {
		return container.Spec{
			Name:   name,
			Rootfs: l.Rootfs,
			Args:   append([]string{"/usr/bin/" + name}, args...),
			Env:    append([]string{"PATH=/usr/bin"}, container.GoEnvStarting(l.Processors, 128<<20)...),
			UID:    uid,
			GID:    uid,
			Mounts: []container.Mount{
				container.Tmpfs("/tmp", 16<<20, "1777"),
				container.Bind(l.Secrets+"/"+name, "/secrets", "ro", "nosuid", "nodev", "noexec"),
			},
			Cgroup:         "/system/" + name,
			MemoryMinBytes: 64 << 20,
			CPUWeight:      200,
			OOMScoreAdj:    -900,
			Revision:       rev,
		}
	}
	api := base(apiServer, apiServerUID, APIServerArgs(spec, "/secrets", "/run"))
	api.MemoryMinBytes = 256 << 20
	api.CPUWeight = 500
	// The node waits for its start: it works with all processors. With two emulated
	// ones on a slow host, a node was Ready 237 s after its kernel's start at its
	// first boot, and with one for the API server 302 s.
	api.Env = append([]string{"PATH=/usr/bin"}, container.GoGCAfterStart(l.Processors, 512<<20)...)
	api.OOMScoreAdj = -998
	api.Mounts = append(api.Mounts, container.Bind(l.Log+"/"+apiServer, "/run", "nosuid", "nodev", "noexec"))
	list := []container.Spec{
		api,
		base(controllerManager, controllerManagerUID, ControllerManagerArgs(spec, "/secrets")),
		base(scheduler, schedulerUID, SchedulerArgs("/secrets")),
	}
	if spec.Volumes {
		csi := base(csiControllers, CSIControllersUID, CSIControllersArgs(spec, "/secrets", "/run"))
		// Volumes that exist need none of it.
		csi.MemoryMinBytes, csi.CPUWeight, csi.OOMScoreAdj = 32<<20, 100, -800
		csi.Mounts = append(csi.Mounts, container.Bind(l.CSI, "/run", "ro", "nosuid", "nodev", "noexec"))
		list = append(list, csi)
	}
	return list
}
