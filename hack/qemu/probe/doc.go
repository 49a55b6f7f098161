// Package probe lets a test see and hurt a node from the inside, at the level of
// its kernel: list all processes, read the files of /proc and the cgroups, and
// send signals. The node itself offers no such thing to anybody.
//
// The image stays as it is. The machine boots the kernel directly, its initramfs
// is the image's with an archive behind it, and the kernel starts the guest
// program out of that archive. It leaves a child behind, with a mount namespace
// of its own, and becomes stage 1; from there the boot is the usual one. Programs of
// the host that the child is to run lie in its root, with the libraries that they
// need ([Closure]). It answers on a virtio-serial port, one JSON line for another:
//
//	host                                 guest
//	{"op":"kill","pid":71,"signal":9} ─▶ kill(2)
//	                     ◀── {"error":""}
package probe
