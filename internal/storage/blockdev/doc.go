// Package blockdev implements storage.Disk on block devices: partitions from sysfs, signatures and superblocks, the partition table, and
// mke2fs and e2fsck, which one wrapper runs.
package blockdev
