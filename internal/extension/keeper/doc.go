// Package keeper has a node's extensions: those that were pushed to it, on the data volume, and those that are in use since this boot.
//
// Each build of an extension is a directory, named by name, version and kernel:
//
//	nlmon,1.0.0,6.12.57+deb13-amd64/
//	    image.erofs  image.verity  sbom.spdx.json
//	    extension.dsse.json        written last: without it, nothing was pushed
//	.push/                         one that is coming, which is renamed when it is whole
//	.gone/                         one that is going, which is renamed before it is removed
//
// What lies there is trusted no more than what comes over the network: the manifest is verified each time it is read, and the image by the kernel, block
// by block, against the root hash in it.
package keeper
