// Package powercut gives virtual machines disks that lose, at a power cut, what was not flushed.
//
// When QEMU is killed, all that the guest has written is safe: it is in the host's page cache, whatever the cache mode. A real disk has a cache of
// its own, which it writes out when and in the order that it likes, and which is empty after a power cut. So a node that forgets to sync passes a
// test that only kills QEMU, and fails on a desk. Here a disk is a server of the Network Block Device protocol, which QEMU reads from and writes to:
//
//	QEMU ── write ──▶ cache ── flush, FUA, or at random ──▶ medium
//	                    │ Cut: some sectors still get there, the others are lost
//	                    ▼
//
// What a completed flush covers is on the medium. Of the rest, each sector has what it had or what was written to it, whatever became of its
// neighbours: sectors of 512 bytes are what a disk promises to write as a whole. This is what dm-log-writes and the like simulate, with a random
// choice in place of all orders.
//
// A medium is a sparse file on top of an [Image], which is the medium of an earlier disk or a file. So a disk that took minutes to get where it is
// can be taken again and again, at no cost.
//
// The server is a small part of the protocol, for QEMU's client (doc/proto.md of the NBD project): fixed newstyle handshake, simple replies, and the
// commands read, write, flush, trim and write zeroes. The libraries there are in Go do without flush, which is what all of this is about.
package powercut
