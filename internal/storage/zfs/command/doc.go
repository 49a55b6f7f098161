// Package command runs the programs zfs and zpool of OpenZFS: it is the one place that does, and implements [zfs.System] with them.
//
// # Why programs
//
// They are the interface that OpenZFS keeps from one release to the next. What a program does beside the ioctl (unmounting what is renamed, growing
// the reservation of a volume, looking for a snapshot by its GUID) would have to be written again, and the nvlists of /dev/zfs change without notice.
//
// # How they are run
//
// By absolute path, without a shell, in a fixed environment of two variables, in a process group of their own that ends with the context. Names are
// checked before they are arguments, and none can begin with '-'; options end with "--" all the same where the program knows it. Output is bounded.
// What a program says on its standard error has a class by one table of texts ([Error]); tests in a virtual machine provoke every entry of it with
// real errors. A list is whole or an error: one that ended well and complained beside it is none.
//
// A program that waits in the kernel is reached by no signal. Who waits for it is told so some seconds after it should have ended, and what would wait beside it
// is refused until it is gone ([Held]).
//
// # What is read of them
//
// The JSON of zfs list with -p, and not with --json-int. That turns all that looks like a number into one, by "%lld": GUIDs above 2^63, which are
// half of them, come out as 2^63-1, an empty value as whatever was in memory, and 007 as 7 (zprop_nvlist_one_property in lib/libzfs/libzfs_util.c,
// 2.3.9). Beside that, where there is no JSON, lines of -H -p and -P; and the answers of channel programs.
package command
