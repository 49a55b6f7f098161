// Package mirror finds the build machine's Debian mirror and takes verified
// indexes and packages from it.
//
// The mirror is $DEBIAN_MIRROR, or the one in the machine's own apt sources.
// An index is trusted because the suite's InRelease, signed by a key of
// Debian's archive keyring, holds its SHA-256; a package because the lock file
// holds its SHA-256. Nothing else about the mirror is trusted.
package mirror
