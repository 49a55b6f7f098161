// Package deb reads Debian binary packages: the ar container, its compressed
// tar members and the fields of control files. It never runs a maintainer
// script. The format is deb(5); control files are deb822(5).
package deb
