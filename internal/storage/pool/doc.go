// Package pool brings the machine's ZFS pools to their declared layout: created or imported, with the disks, properties and schedules that they are to have.
//
// # What is never done by itself
//
// Nothing that destroys anything is done without a [Confirmation] that names the pool and repeats the operation as it was shown: creating on a disk that
// holds data, destroying, importing by a rewind or against another system's claim, and removing (but for a spare or cache device that
// is out of use and added anew at once). Such an operation is in the plan with what it Needs, and
// [Reconciler.Apply] refuses it. Since a confirmation holds for the text of one operation, and that names its disks, one that was given for other disks, or for
// a pool that has changed since, counts for nothing.
//
// Nor is one of two disks that were written to without each other written over by the other, as ZFS does without a word: the pool is not imported with both, and none of
// them is brought back beside the other (apart.go).
//
// A pool that was there once is not created anew when it is gone ([Memory]): its disks may be in another machine, or in this one and slow.
//
// # Conditions
//
// Two pools of one name, a pool that is missing, incomplete, damaged, newer than the kernel's module, or in use by another system, a disk that holds another
// pool, and a layout that cannot be reached from the one there is, are each a [Condition] with a name. A person resolves them; the plan has no operation that does.
//
// # Disks
//
// A disk is chosen by a selector and known from then on by what ZFS has written on it: a leaf of a pool carries the GUIDs of the pool and its own in a label
// (package label). So a disk that comes back under another name is the same disk, and another one in its place is not.
//
// ZFS is given partitions and not whole disks. For a whole disk, zpool writes a partition table and then waits for udev to announce the partition
// (zpool_label_disk_wait in lib/libzutil/os/linux/zutil_import_os.c, 2.3.9), and on a node there is no udev. [Devices].Prepare makes the partition.
//
// # Order
//
// Reading and planning are pure but for the calls on [Pools], [Devices] and [Memory]. What makes a pool copy data (replace, attach, expand, remove) comes one
// at a time: the next waits until the pool has settled.
//
// Facts are from the manual pages and the source of OpenZFS 2.3.9, named where they are used.
package pool
