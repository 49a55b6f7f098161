// Package kernel brings extensions into the running system: it opens their images through dm-verity on loop devices, mounts them, and loads their
// modules. It implements keeper.Kernel, and is the only package of extensions that makes system calls.
//
// Devices and mounts outlive the agent. The next one finds them by their names, and takes them over only if the kernel checks them by the root hash of
// the signed manifest. At the machine's end they stay until the last: what they lie on is made read-only beneath them. The files of an image may be
// changed by whoever can write the data volume: then a read of what was changed fails, and no more.
package kernel
