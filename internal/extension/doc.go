// Package extension is the form of an extension: kernel modules, a service, or both, in one signed file with a verified file system.
//
//	extension.dsse.json   the manifest in a DSSE envelope, which signs it
//	image.erofs           the file system
//	image.verity          its hash tree
//	sbom.spdx.json        what it is made of
//
// The file is of the kind that releases are ([release.Form]), under a payload type of its own: no release can be taken for an extension, nor the other
// way round. In the file system, /modules is what depmod(8) makes of a directory below /usr/lib/modules, and /rootfs the root of the service.
//
// An extension adds to what a node is, so its manifest says all that it gets, out of the lists of package confine: a service that asks for more is no
// extension. Modules belong to one kernel, by its whole release; a service to a range of versions of the operating system.
//
// The package is pure. Package keeper has them on disk, package kernel brings them into the running system, package service runs them.
package extension
