// Package loopdev has the kernel hold block devices: a loop device (loop(4)) on one keeps it open, whatever becomes of the process that made it. So neither
// can the device go, nor its number become another's, until it is let go.
//
// A loop device says what it is on by a path (/sys/block/loopN/loop/backing_file), which here is any that is wanted: the device is opened by a
// node in a file system in memory that is mounted nowhere, and of which nothing is left but that path. Nothing is read or written through the loop device.
package loopdev
