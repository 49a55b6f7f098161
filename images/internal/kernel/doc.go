// Package kernel takes the kernel and its modules from Debian's package and
// writes the module indexes that depmod(8) would write: modules.dep,
// modules.alias and modules.softdep, in the text forms of modules.dep(5).
// Modules are kept uncompressed: the root file system compresses them, and the
// node's loader needs no decompressor.
package kernel
