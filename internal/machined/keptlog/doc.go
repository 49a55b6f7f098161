// Package keptlog keeps the newest of what services and the kernel wrote over the end of a boot.
//
// Services (package supervise) and the kernel write into rings in memory, which end with the boot. A Store copies what is new in them, in passes of some seconds, to a
// folder of the data volume, in its dataset log, that no workload sees:
//
//	/var/log/services/BOOT/NAME.log, NAME.log.1          the boot's ID; a log is a ring of two files, as in memory
//	/var/log/services/BOOT/kernel.log, kernel.log.1      the kernel's: each record a line, "<6>[    1.234567] message"
//	/var/log/services/BOOT/plane/NAME.log, …             those of the workload plane
//	/var/log/services/BOOT/ended                         the boot went down in order
//
// Two boots have a folder: the running one, and the newest before it that has one. Upgrades change nothing of that, since both slots use the volume; a reset of it, and
// a key that is lost, take the logs with them.
//
// # What is lost
//
// No pass waits for the disk, and none ends with fsync(2): etcd is in the same pool, and each of its writes would have those of the logs beside it. So a power cut, or a
// kernel that dies, takes what was written in the last pass's interval, and until the pool's transaction group after that is on the disk (five seconds,
// zfs_txg_timeout in zfs(4), and what the disk takes for it). What is of one group is there whole or not at all, and so is all before it. A line can be cut in two by it, and is
// read so. An ordered end takes nothing of what services wrote until they ended, save of the agent and the system containerd,
// which end last, and of what the kernel says after the agent's end. A kernel that dies leaves its last words to package crash.
//
// How far each ring was copied is in a file in memory. An agent that is started again goes on there; what an agent that was killed had copied since the file was written is
// copied twice.
//
// The rings of the workload plane end with it, and not with the boot: what they had got since the last pass is lost when it is started again, which a line says.
//
// The kernel's ring has all since its start, or as much of it as it holds, when the first pass comes. Its records have numbers: a line says how many are missing where
// the kernel had overwritten them before a pass came.
//
// # What it costs
//
// Each pass reads what is new and no more than 256 KiB of a log, the newest, save that the first may take 512 KiB of the kernel's, which the boot has filled; a line says
// where something was left out. A pass ends also while the kernel goes on writing. A log has at most 1 MiB, and the number of logs is bounded for each folder of rings,
// since root in the workload plane makes as many files there as it likes. The room of etcd is kept for it by its own dataset, and what logs may take is bounded by the quota
// of theirs, which the API server's audit log is in too. While there is little left of that, or of the pool, nothing is written: statfs(2) tells of the smaller of the two.
package keptlog
