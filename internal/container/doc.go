// Package container describes the containers that the operating system itself
// runs: etcd and the control plane (the system plane), and the one container
// that is the workload plane. It holds the terms ([Spec], [Info]) and the
// contract ([Runtime]) only; the containerd subpackage fulfils it.
//
// A system container has no image and no snapshot: its root is a directory of
// the verified root file system, mounted read-only. It shares the node's network
// and nothing else.
//
// [Runtime.Ensure] takes the whole wanted state. A running container whose label
// carries the same [Spec.Hash] is adopted as it is, so that the agent may be
// restarted, killed or upgraded under running containers.
package container
