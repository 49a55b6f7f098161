// Package disk writes bootable disk images: a GPT with the partitions of the
// UAPI Discoverable Partitions Specification and a FAT32 boot partition with
// systemd-boot. Every identifier is given by the caller, so that the same
// input gives the same bytes. Images are sparse files.
package disk
