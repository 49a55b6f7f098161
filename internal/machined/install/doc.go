// Package install puts the node onto another disk: partitions, boot loader, a release and the configuration.
//
//	request ──▶ Choose ──▶ Build ──▶ Plan            pure, and printable: what a dry run shows
//	                                  │
//	                                  ▼
//	begun ─▶ cleared ─▶ root ─▶ verity ─▶ esp ─▶ state ─▶ table ─▶ complete
//
// # A cut anywhere
//
// Each word of the second line is a step that is done, and what was done last is in a note on the disk itself (package notes), which is written first
// of all. The partition table comes last: until then the disk has none, no firmware starts it, and it is known by its note as an installation
// that was not finished. From the table on it starts. The same request goes on behind the last step; another one begins again. An encrypted state volume is
// made anew, so that it opens by what there is then, and the table, if there is one, goes before that. The note alone is not believed: a disk that holds
// something else as well holds data, whoever put it there.
//
// # What is checked
//
// The root is read block by block against its hash tree, and that against the root hash, while it is copied: what does not match is not written. The
// kernel image has to be for this root hash. A release that was pushed has been through all checks of an upgrade.
//
// # Without the kernel's help
//
// Everything is written to the disk as a whole, in places that the layout says, so that no device of a partition and no mount is needed, and every
// write can be cut in a test. The file system of the state volume is made in a file first, with the configuration in it, and encrypted there if the configuration
// says so: the disk never has it in the clear. The other disk is one of the same machine, so the machine's TPM is the one that opens it, and sealing does not
// need what the TPM gives out no more in this boot (package trust/tpm).
package install
