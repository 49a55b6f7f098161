// Package arc decides how much memory ZFS may use to keep what it has read (the ARC). Left to itself it takes nearly all: the larger of all memory but 1 GiB, and five
// eighths of it (zfs(4), zfs_arc_max), and kubelet, to which that memory looks used, would drive pods out for it. So there is a limit by a rule ([Max]), it counts
// in what the system keeps for itself, and it becomes smaller while processes wait for memory ([Governor]).
//
// Rule and rules are pure; package module is the side of the kernel. Facts are of OpenZFS 2.3.9.
package arc
