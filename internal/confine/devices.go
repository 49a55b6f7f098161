package confine

import "io/fs"

// Device is a character device of the workload plane. Numbers: the kernel's
// Documentation/admin-guide/devices.txt.
type Device struct {
	Path         string
	Major, Minor int64
	// Access is of r and w; making the node (m) is allowed in any case.
	Access string
	Mode   fs.FileMode
}

// Devices are those beyond what runc gives every container (null, zero, full,
// random, urandom, tty, ptmx, pts, console): kernel messages for kubelet's
// out-of-memory watcher, FUSE and TUN for pods that bring file systems and
// tunnels. No block device is here, and none lies in the plane's /dev.
func Devices() []Device {
	return []Device{
		{"/dev/kmsg", 1, 11, "r", 0o600},
		{"/dev/fuse", 10, 229, "rw", 0o666},
		{"/dev/net/tun", 10, 200, "rw", 0o666},
	}
}

// VolumeMajor is the major number of the devices of all volumes of ZFS (ZVOL_MAJOR in include/sys/fs/zfs.h of OpenZFS 2.3.9; a
// parameter of its module, zvol_major, that the node leaves alone). The plane's rules let them be read and written, since rules of a
// cgroup cannot be added to later; which of them a pod may open says package lsm, by a list of those that are handed to pods.
const VolumeMajor = 230
