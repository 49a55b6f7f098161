// Package lsm holds the kernel to what system calls and capabilities cannot
// say: small eBPF programs on hooks of the Linux security modules
// (Documentation/bpf/prog_lsm.rst; CONFIG_BPF_LSM, and bpf in lsm=).
//
// Two of them hold for every process, root of the node included: code comes into
// the kernel from the verified root only, and from the verified images of extensions
// that were admitted when the boot began ([Admit]); nothing can be admitted later. The others hold for all but the node's
// own cgroups (/init and /system, which are never removed), so that a process
// that is in none of the known groups is confined.
//
// The programs are pinned and go on without the agent; nothing in the workload
// plane can reach the pins, nor get a descriptor of program or link by its
// number, since that is one of the things refused.
//
// Two lists are theirs: of the devices that modules come from, which is closed when a boot
// begins, and of the block devices that pods may open ([Volumes]), which the agent changes
// as volumes are handed to pods and taken back. A file system that lies on a device is
// mounted by the node alone, also where a pod may open the device.
//
// They are written as instructions, with the offsets of kernel structures looked
// up in the running kernel's own type information: there is so little to them that
// a C compiler in the build would be the larger part to trust.
package lsm
