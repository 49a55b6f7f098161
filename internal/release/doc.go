// Package release is the file that an upgrade takes: a signed manifest and the three parts of a system, in one tar archive.
//
//	release.dsse.json   the manifest in a DSSE envelope, which signs it
//	cyvive.efi          the unified kernel image
//	root.verity         the hash tree of the root
//	root.erofs.zst      the root, as one zstd stream
//
// The order is fixed and the manifest comes first, so that a node that is sent a release knows whose it is, and whether it wants it, before it
// takes the rest. The manifest names each part with its size and SHA-256, and the parts count as received only when all of them match.
//
// The signature is Ed25519 (RFC 8032) over the pre-authentication encoding of DSSE 1.0. A node takes releases that one of the keys on its own
// verified root has signed; a release brings the keys for its successor.
//
// [Form] is what other signed files have in common with releases.
//
// The package is pure: it reads and writes streams that it is given.
package release
