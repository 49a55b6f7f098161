// Package etcd runs the node's etcd member as a container of the system plane.
//
// Like every domain it is [Spec] → Observe → Diff → Apply → [Status]. It
// issues the member's certificates from the cluster's etcd authority into a
// memory file system, starts the container from the verified root, and asks the
// member itself, over the client port with a client certificate, whether it is
// healthy.
//
// Clients are served on loopback only; peers on the node's address. Both ask
// for a certificate of the etcd authority, which signs nothing else.
package etcd
