// Package kube runs Kubernetes on the node: the control plane as containers of
// the system plane, and kubelet with its own containerd in the workload plane.
//
// Like every domain it is [Spec] → Observe → Diff → Apply → [Status]. It
// issues every certificate from the cluster's authorities into a memory file
// system, starts the containers from the verified root in the order in which
// they can work, brings the images of the default bundle into the workload
// plane, and tells by the API server's own answers whether the node is Ready. It
// also keeps cluster DNS applied; and what persistent volumes need, where the node
// makes them: csi-controllers is one more container of the control plane then, and
// stands between Kubernetes and the node's CSI driver.
//
// Beside that, [ServiceWatch] tells of the cluster's services and their endpoints as
// the terms of package service. What it does not follow: node ports, load
// balancers, external addresses, session affinity and topology hints. A service of
// type NodePort or LoadBalancer is reached by its cluster address only.
package kube
