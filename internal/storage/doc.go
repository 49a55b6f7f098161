// Package storage brings the node's own volumes to their desired state: the partition grown to the end of the disk, a file system made on
// a blank one, checked after an unclean end, mounted, and with the directories that others rely on.
//
// # What is never done
//
// A file system is made only on a partition whose beginning is blank, or where an earlier attempt left its own mark of being under way.
// Anything else without a file system that the node knows is refused and named in [Status]: it may be data that only looks broken.
//
// # Clean and unclean
//
// Whether a volume was left clean by the boot before can be told only before it is mounted, from its superblock. The domain records it at
// that moment, once for each boot, so that a restarted agent still knows.
//
// The package is pure but for the calls on [Disk] and [Mounts], which blockdev and mount implement and storagetest fakes.
package storage
