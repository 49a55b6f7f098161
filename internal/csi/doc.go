// Package csi is the CSI driver zfs.csi.cyvive.dev: Kubernetes asks it for volumes, snapshots and clones, and it has them made by OpenZFS. It
// implements the Identity, Controller, Node and GroupController services of version 1.13 of the Container Storage Interface on [zfs.System], [Mounts]
// and [Pools].
//
// One driver runs on each node, in the system plane, and all it has is of this node: the controller half serves the volumes on the node's own pools.
// So the programs that call it (external-provisioner, -snapshotter, -resizer) run once on each node, in the mode that Kubernetes calls distributed
// provisioning.
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
// Neither is shown or used again under its old id. A deleted volume takes the room of its snapshots, no more. Snapshots of it that are none of
// Kubernetes's, such as those of schedules, go with it; held ones (zfs-hold(8)) do not, and have it stay until they are released.
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
// Each change is one transaction of ZFS, or a row of those that a repeated call goes on with. A call locks the volumes that it changes, and waits for
// others that do as long as its context lets it. What a crash left aside is collected by the first deletion after the start.
//
// # Replicas
//
// They are not here yet. Their seam: the topology of a volume is a list ([Driver.topologies]), its id is the same on each node, and its context has a
// generation, which a copy has as a property: NodeStageVolume refuses a copy that is older than what Kubernetes knows (staged.go).
package csi
