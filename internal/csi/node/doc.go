// Package node runs the CSI driver on a node, in the machine agent: it makes the driver's two sockets, has it answer on them, and registers it with kubelet.
// When any of that fails, all of it begins again.
//
//	          sockets made          kubelet has taken it
//	waiting ───────────────▶ serving ───────────────────▶ ready
//	   ▲                        │                            │
//	   └──── pause ◀────────────┴───── something failed ◀────┘
//
// Kubelet is told of another topology by package registrar. csi-controllers asks once, when it connects, and cannot be told: its connection is ended, by which it
// begins anew. Without that, volumes in a pool that was imported later would never be made larger, nor deleted: it takes them for another node's.
//
// The sockets for kubelet are in a directory that others than the node write in. When one of them is gone it is made again, and nothing else is ended for that.
package node
