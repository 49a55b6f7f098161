// Package ramroot lets a node of the image run from a root in memory, for a comparison: many minimal systems unpack or load theirs there.
//
// The machine boots the kernel directly, with an initramfs that has a disk in it: root and hash tree of the image, and beside them small, empty volumes.
// The guest program, which the kernel starts first, makes a loop device of it and becomes stage 1 of the image, which finds the partitions there
// as it would on any disk. From then on all is as usual; the pages of the disk cannot be dropped, since there is nowhere else to read them from.
package ramroot

// Names in the guest.
const (
	// GuestPath is the guest program.
	GuestPath = "/ramroot/init"
	// StagePath is the image's own stage 1.
	StagePath = "/init"
	// ModuleDir holds the modules to load, named so that their order is the one to load them in.
	ModuleDir = "/ramroot/modules"
	// HeadPath is the disk up to the end of what it holds, TailPath its last bytes. Between them are zeros, which need no memory.
	HeadPath = "/ramroot/disk"
	TailPath = "/ramroot/tail"
	// SizePath has the disk's size in bytes, as a decimal number.
	SizePath = "/ramroot/size"
)
