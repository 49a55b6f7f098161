// Package containerd is the container.Runtime on containerd: it turns a
// container.Spec into an OCI bundle, runs it in one containerd namespace, and
// keeps the facts that outlive the agent (hash, restart count, time of start) in
// the container's labels.
//
// The containers have no snapshot: the bundle's root is a directory of the
// verified root file system, so the system containerd needs no snapshotter and no
// disk. All containers of a namespace share one shim, by the grouping annotation
// of containerd-shim-runc-v2; a container's output goes to a FIFO that init reads,
// so neither the agent nor containerd stands between a container and its log.
//
// The workload plane's own containerd (the CRI one) is reached through its socket
// by the same client: to list the pods' containers and to import images.
package containerd
