// Package cni is the CNI plugin "cyvive": it connects a pod to its node by a
// routed point-to-point link, and gives it an address of the node's pod range.
//
//	pod                                   node
//	eth0 10.244.0.5/32 ── veth pair ──── cy6f0c2b9a1d3
//	default via 169.254.1.1 onlink        10.244.0.5 dev cy6f0c2b9a1d3
//	169.254.1.1 is at the node end's MAC  10.244.0.5 is at the pod end's MAC
//
// There is no bridge and no broadcast domain: pods of a node reach each other and
// the node by routing. Both neighbour entries are permanent, so nothing ever waits
// for ARP. No address is translated: what leaves the node has the pod's, and its
// answer comes back only where the network outside has a route to the pod range. What
// comes by a pair with another source address than its pod's is dropped at the node's
// end, which filters the reverse path: pods may make packets (CAP_NET_RAW).
//
// The plugin is a role of the program init, called by the workload plane's
// containerd in the plane's mount namespace and the node's network namespace. It
// keeps one file for each address in a directory of a memory file system, which
// lives exactly as long as the links do: until the next boot.
package cni
