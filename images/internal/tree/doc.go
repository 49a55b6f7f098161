// Package tree is a file tree in memory, with the owners and modes that its
// entries will have in the image whatever the build machine's user may set.
// Content is either in memory or in a file of the build cache.
//
// Paths are absolute and clean ("/usr/bin/init"); the root "/" always exists.
package tree
