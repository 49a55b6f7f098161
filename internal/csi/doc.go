// Package csi is the CSI driver zfs.csi.cyvive.dev: Kubernetes asks it for volumes, snapshots and clones, and it has them made by OpenZFS. It
// implements the Identity, Controller, Node and GroupController services of version 1.13 of the Container Storage Interface on [zfs.System], [Mounts]
// and [Pools].
//
// One driver runs on each node, and all it has is of this node: the controller half serves the volumes on the node's own pools.
// So the programs that call it (external-provisioner, -snapshotter, -resizer) run once on each node, in the mode that Kubernetes calls distributed
// provisioning.
//
// # Where it runs
//
// In the machine agent (package node is how), and not as a system container: it mounts in the node's own mount namespace, opens devices and runs the programs of
// OpenZFS, none of which a system container can, and one that could would be a second agent. The agent may be killed at any time. What is mounted then stays
// mounted, since the kernel has it; a call that was cut is made again by who made it, and goes on where it was; and the next agent knows all that this one knew,
// as it reads it from ZFS and from the kernel's list of mounts.
//
// # Two sockets
//
//	kubelet, in the workload plane ──▶ plugins/zfs.csi.cyvive.dev/csi.sock, below kubelet's directory   [Kubelet]
//	csi-controllers, a container   ──▶ /run/cyvive/csi/zfs.sock, in no directory of the plane's         [Controllers]
//
// What makes and destroys volumes is behind the second alone. The first mounts what is there, which kubelet has to be able to have done, and answers processes in
// kubelet's own cgroup and no others (package mounter, Of). Root of the whole plane, which a privileged pod can become, can be kubelet, and have the volumes of
// this node mounted in the plane, as it can read those that are: between the pods of a node stands Kubernetes, and between the plane and the node this package.
//
// # What is where
//
// A volume is one dataset right below one of [Config.Parents]: a file system, which is mounted as it is, or a volume of ZFS (a zvol), which is handed
// out as a block device or holds ext4 or XFS. The dataset's name is the volume's id. It follows from the name that Kubernetes gives ([componentOf]),
// so that a call which is made again finds what the first one made, whatever became of its answer; and it names no node and no pool, so that a copy
// on another node can one day have it too. What the driver has to know of a volume are user properties of the dataset (property*.go). It keeps
// nothing anywhere else, and nothing in memory that it could not lose.
//
// A snapshot is a snapshot of the dataset with a user property, its id VOLUME@SNAPSHOT. A group of them is made in one transaction and shares one
// name.
//
// # Deletion
//
// Kubernetes takes volumes, their snapshots and volumes made of those for independent of each other; ZFS does not. What is deleted while others need
// it is put aside and goes when the last of those does (reap.go):
//
//	volume:    PARENT/ID          ─▶ PARENT/_deleted/ID.GUID   while it has snapshots, or clones by those
//	snapshot:  …@NAME             ─▶ …@_deleted-GUID           while it has clones
//	made for a volume of a volume:   …@_clone-ID               while volume ID is there
//
// Where there is no room to put a volume aside, which is where a quota or the pool is full, it goes with the snapshots that are none of Kubernetes's; if there are
// others, those have to go first.
//
// Neither is shown or used again under its old id. A deleted volume takes the room of its snapshots, no more. Snapshots of it that are none of
// Kubernetes's, such as those of schedules, go with it; held ones (zfs-hold(8)) do not, and have it stay until they are released. The driver knows its
// own by their user properties: who makes something of such a name by hand keeps it. One exception is what is called PARENT/_new-ID, and has neither such properties, nor
// something below it, nor more in it than one that is new: it is taken for a volume that a crash has kept from getting its properties, and goes with its snapshots.
//
// # Who can ask for what
//
// Who writes a PersistentVolumeClaim chooses a size and a class. Names come from Kubernetes, and parameters from a StorageClass, but neither is
// trusted with more than it is for: a name that has anything but letters, digits and dashes is hashed, parents are those of the configuration, and
// parameters are a list with the values of each (parameters.go). Paths come from kubelet, which runs among the pods: they lie below one directory and
// are never followed out of it.
//
// # Crashes, and calls at the same time
//
// Each change is one transaction of ZFS, or a row of those that a repeated call goes on with. A volume is made as PARENT/_new-ID, and renamed when it is known by
// its user properties, which ZFS sets after it has made it: what has a volume's name has them all. What has the other is made anew by the call that is repeated. A device
// that is a clone then grows to its size, and is shown by the kernel last: with one that is not yet, the call that is repeated goes on, or takes it away.
//
// A call locks the volumes that it changes, and waits for others that do as long as its context lets it; but not for a file system to be checked or
// made, of which it is told (staged.go). What a crash left aside is collected by the first deletion
// after the start.
//
// # Pools that are away
//
// A pool that is not imported, is suspended, or has zfs wait in the kernel, is in the way of nothing in another: volumes are found, made, listed
// and deleted there (find.go). What is found nowhere may be in the pool that is away, and a deletion of it is Unavailable until that is back, as it would be forgotten otherwise. A volume that is to be made
// is looked for in the pools that are there; one of its name in another, which takes a class whose parent has changed between two calls, is not seen.
//
// # Devices
//
// A volume that is asked for as a device is bound, as the node's file of it in /dev, where kubelet wants it; nothing is staged. A pod opens it by a node that its
// runtime makes. Four walls stand in the way, each of which lets such volumes through:
//
//	rules of devices of the plane   all volumes of ZFS              package confine, VolumeMajor
//	LSM program on file_open        those on a list                 package confine/lsm, Volumes
//	LSM programs on mounting        none: a pod mounts no device    package confine/lsm
//	rules of devices of a pod       its own                         the pods' runtime
//
// The list knows devices by their numbers, which the kernel gives anew when a device is gone. So one is put on the list only while the kernel holds it, by a loop
// device (package mounter, hold.go), and both outlive the agent. Kubelet takes such a loop device itself of each volume that it hands on
// (volumepathhandler.AttachFileDevice, called by MapBlockVolume in pkg/volume/util/util.go of Kubernetes 1.36), and could not: the plane has no loop devices, which are the
// machine's, with the verified images of extensions on them. It looks first for one that is there, by a path, and finds that of the driver.
//
// A device that one pod has is not kept from a privileged one: it can open all that are on the list, as it can read what is mounted for others.
//
// # Replicas
//
// They are not here yet. Their seam: the topology of a volume is a list ([Driver.topologies]), its id is the same on each node, and its context has a
// generation, which a copy has as a property: NodeStageVolume refuses a copy that is older than what Kubernetes knows (staged.go).
package csi
