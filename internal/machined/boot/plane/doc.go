// Package plane is PID 1 of the workload plane: a container with PID, mount
// and cgroup namespaces of its own, which Kubernetes takes for the host. It
// supervises the CRI containerd and, once that answers, the kubelet.
package plane
