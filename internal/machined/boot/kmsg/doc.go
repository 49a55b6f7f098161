// Package kmsg writes to the kernel's log, /dev/kmsg: it is there before any
// file system, goes to every console, and is kept in pstore after a panic.
package kmsg
