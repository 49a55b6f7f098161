// Package label reads what ZFS writes on each device of a pool to know it by: the pool's name and GUID, the device's own, and whether the pool was in use. Names of
// devices change from boot to boot, and disks are moved and swapped; this does not.
//
// A device has four labels of 256 KiB, two at the beginning and two at the end of what is a multiple of 256 KiB (vdev_label_offset in module/zfs/vdev_label.c). Each
// has, 16 KiB in, 112 KiB with a list of names and values in the encoding XDR (vdev_phys_t in include/sys/vdev_impl.h; the encoding is said in module/nvpair/nvpair.c,
// above nvs_xdr_create). Facts are of OpenZFS 2.3.9; the form on disks has been the same since version 28 of pools.
//
// The checksum of a label is not checked: what is read here decides which device is meant, and ZFS checks it when the device is opened.
//
// The package is pure: it reads through an io.ReaderAt.
package label
