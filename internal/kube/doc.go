// Package kube runs Kubernetes on the node: the control plane as containers of
// the system plane, and kubelet with its own containerd in the workload plane.
//
// Like every domain it is [Spec] → Observe → Diff → Apply → [Status]. It
// issues every certificate from the cluster's authorities into a memory file
// system, starts the containers from the verified root in the order in which
// they can work, brings the images of the default bundle into the workload
// plane, and tells by the API server's own answers whether the node is Ready.
package kube
