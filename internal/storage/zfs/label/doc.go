// Package label reads the labels that OpenZFS has on each device of a pool: which pool it is of, and whether that was exported. It needs no kernel module
// and imports nothing, and writes nothing.
//
// A device has four labels of 256 KiB, two at its beginning and two at its end (include/sys/vdev_impl.h, vdev_label_t; OpenZFS 2.3.9). In each lies, from
// 16 KiB on, a list of names and values, packed as XDR (RFC 4506; module/nvpair/nvpair.c), with a checksum over it. A change of the pool writes labels 0
// and 2 first and then 1 and 3 (module/zfs/vdev_label.c, vdev_config_sync), so that after a power cut at any point some are whole.
package label
