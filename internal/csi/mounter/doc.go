// Package mounter implements csi.Mounts in the mount namespace of the process, and makes the driver's sockets.
//
// Every path that kubelet gives lies in a directory that belongs to the workload plane, where whoever got out of a pod may be root. So none is handed
// to the kernel as a text: the parent is opened below the directory with openat2(2), which follows no symbolic link and crosses no mount, and all
// that is done is done to the last name in it, by the open parent. What the node mounts there appears in the plane, which is a slave of it (package
// kube, plane.go).
//
// For the same reason a socket in that directory is not kubelet's alone: whoever finds it can connect. [Of] leaves the connections of one cgroup's processes.
//
// A device that is handed to a pod is held by a loop device, and on the list of those that pods may open (hold.go). Nothing of that is kept in memory: what is held is the
// kernel's, and says for which target, so that the next agent goes on where this one was killed.
//
// A volume's device is found by asking zvols for their names (BLKZNAME): there is no udev that would make links of names. One of a pool that is suspended may
// never answer; so devices that are known to be of other pools are left alone, and nobody waits for one without an end, or with a lock held (ask.go).
package mounter
