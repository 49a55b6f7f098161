// Package csi is the command csi-controllers: it has a CSI driver do what PersistentVolumeClaims, VolumeSnapshots and VolumeGroupSnapshots ask for. It is
// external-provisioner, external-resizer, and both halves of external-snapshotter, as they are, in one process with one set of caches.
//
//	claim without a volume ──provisioner──▶ CreateVolume, PersistentVolume     volume without a claim ──▶ DeleteVolume
//	claim that grew ─────────resizer──────▶ ControllerExpandVolume             another class of attributes ──▶ ControllerModifyVolume
//	VolumeSnapshot ──────────snapshot controller──▶ VolumeSnapshotContent ──snapshotter──▶ CreateSnapshot
//	VolumeGroupSnapshot ─────snapshot controller──▶ …GroupSnapshotContent ──snapshotter──▶ CreateVolumeGroupSnapshot
//
// external-attacher is not there: nothing is attached to a node that the volume is on.
//
// # One node, several nodes
//
// A driver's volumes are on its own node, so each node has these controllers beside its driver, and none elects a leader. The provisioner takes the claims
// that are for this node, or for any, and deletes volumes that this node reaches (external-provisioner's mode "node-deployment"); the resizer is kept to
// volumes that this node reaches by the same rule ([reachable]). The snapshot half takes all of the driver's contents and is for clusters of one node:
// external-snapshotter has labels by which nodes tell theirs, but not for groups.
//
// # The driver
//
// What the driver can is asked once. When the connection to it ends, another version may be behind the socket, so the process ends, too, and is started again
// by the node's agent. As long as there is no driver yet it waits, and says so.
package csi
