// Package kmsg reads the kernel's log from /dev/kmsg
// (Documentation/ABI/testing/dev-kmsg, since Linux 3.5): each read(2) gives one
// record, a read that finds the next record overwritten fails with EPIPE and
// goes on with the oldest there is, and a non-blocking read at the end fails
// with EAGAIN.
package kmsg
