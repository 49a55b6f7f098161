// Package kmsg reads the kernel's log from /dev/kmsg
// (Documentation/ABI/testing/dev-kmsg, since Linux 3.5): each read(2) gives one
// record, a read that finds the next record overwritten fails with EPIPE and
// goes on with the oldest there is, and a non-blocking read at the end fails
// with EAGAIN. A record is there once it is whole: what the kernel adds to a line
// that it has begun (KERN_CONT) is in the same record, or in one of its own. Records
// are numbered without a gap, from 0 at the kernel's start
// (kernel/printk/printk_ringbuffer.c, since Linux 5.10).
package kmsg
