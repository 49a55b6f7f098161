// Package notes keeps a few words of the node on a disk itself, outside of every partition and file system: how far an installation is, which volumes
// are to be wiped. So they can be read before anything is mounted, and written while nothing is.
//
// They lie in the gap between the partition table and the first partition, which begins at 1 MiB. Partition tables end before 33 KiB (UEFI 2.10, 5.3,
// with blocks of 4096 bytes and the 128 entries that the node's images have), labels of ZFS before 512 KiB; what boot loaders of other systems put in
// the gap begins at its beginning.
//
// A note is one sector, which a disk writes whole or not at all, with a sum over it. It has two places that are written in turn, each synced: after a
// power cut at any point the new note is there, or the one before.
package notes
