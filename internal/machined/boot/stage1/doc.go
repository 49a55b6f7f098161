// Package stage1 is PID 1 in the initramfs: it finds the partitions that the
// root hash on the kernel command line names, opens them through dm-verity,
// mounts the root file system, and becomes init in it.
//
// The UUIDs of the root and verity partitions are the two halves of the root
// hash (UAPI Discoverable Partitions Specification), so a kernel finds its own
// pair whatever slot or disk it is on, and never another. The initramfs of an
// installation medium brings the disk with it (package medium), and takes none else.
package stage1
