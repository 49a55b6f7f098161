// Package inventory reads what the machine is made of, from /proc, /sys and the
// firmware's tables. As in package procfs, parsing is apart from reading, what cannot
// be read is left out, and the whole of it runs on a folder that stands for the root.
//
// What sysfs does not show is asked of the devices: by package device, which is the
// only one with system calls, and read by package smart. Disks are asked one question
// at a time and at most twice a minute each, and a disk that hangs holds up nobody but
// the goroutine that asked it.
//
// Of the firmware's tables only processors and memory are read. Others can hold
// secrets: a hypervisor puts configurations into the strings of type 11.
package inventory
