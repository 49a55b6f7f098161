// Package sandbox is the throw-away Debian tree: pinned packages, unpacked to
// a directory of the build cache as the user who builds, in which the
// programs run that must not depend on the build machine's age: the compiler
// for OpenZFS and runc, and mkfs.erofs.
//
// No maintainer script runs; the few links that they would make are made here.
// A command enters the tree through unshare(1) and chroot(1): the mounts it
// needs are made in a mount namespace of its own and vanish with it, so the
// build machine's own mounts are never touched, and root is not needed.
package sandbox
