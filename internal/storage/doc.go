// Package storage brings the node's own volumes to their desired state: the partition grown to the end of the disk, a file system made on
// a blank one, checked after an unclean end, mounted, and with the directories that others rely on.
//
// # What is never done
//
// A file system is made only on a partition whose beginning is blank, or where an earlier attempt left its own mark of being under way.
// Anything else without a file system that the node knows is refused and named in [Status]: it may be data that only looks broken.
//
// # Encryption
//
// A volume is encrypted when it is made, or never: what is on the disk says how it is opened, and the configuration only how a blank partition is
// made. The key of state is sealed to the TPM, or opened by a key server or a passphrase, and that of data lies on state. So the order of volumes is the order
// of keys, and behind a state that is not the true one there is no key for data (package trust/tpm says what that is good for). When state has been opened,
// or has not, the TPM is told to give out nothing more in this boot, and only then state is mounted and what is on it read. Where it is not asked, it is told
// before state is opened: the node may wait for a key server as long as it takes.
//
// Data is not begun before the configuration is stored on state ([Encryption].Held): that its key is there then tells that there was one, whatever somebody has
// made of the rest of state.
//
// Until the configuration is known, the node does not know how to make a volume, and leaves blank partitions as they are ([Undecided]).
//
// # Clean and unclean
//
// Whether a volume was left clean by the boot before can be told only before it is mounted, from its superblock. The domain records it at
// that moment, once for each boot, so that a restarted agent still knows.
//
// The package is pure but for the calls on [Disk], [Mounts] and [Crypt], which blockdev, mount and internal/trust/volumes implement and storagetest
// fakes.
package storage
