// Package label reads the labels that OpenZFS has on each device of a pool: which pool it is of, whether that was exported, how far the device came with it, and which of
// its peers were there then. It needs no kernel module and imports nothing, and writes nothing.
//
// A device has four labels of 256 KiB, two at its beginning and two at its end (include/sys/vdev_impl.h, vdev_label_t; OpenZFS 2.3.9). In each lies, from
// 16 KiB on, a list of names and values, packed as XDR (RFC 4506; module/nvpair/nvpair.c), with a checksum over it. A change of the pool writes labels 0
// and 2 first and then 1 and 3 (module/zfs/vdev_label.c, vdev_config_sync), so that after a power cut at any point some are whole.
//
// That list is written when the pool's configuration changes, as when it is imported. What each transaction of the pool writes is an uberblock, in the other half of the
// label: a ring, in which the next takes the place of the oldest.
package label
