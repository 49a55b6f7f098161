// Package pcr says which values the TPM's registers have when a release has booted, and signs them, so that a key that is sealed once opens under
// every release of the same signer, and under nothing else.
//
// # What is predicted
//
// PCR 11 belongs to the unified kernel image: its boot stub measures each section into it, first the name and then the content (Linux TPM PCR
// Registry and Unified Kernel Image specification of uapi-group.org; systemd-stub(7)). The content is the whole of what runs until the root is
// there: kernel, initramfs, and the command line with the root hash, which binds the root itself. PCR 12 is for what is added to a command line from
// elsewhere, and for credentials; PCR 13 for extensions of the initramfs. A node has none of these, so both have to be zero still: without Secure
// Boot the stub takes a command line that somebody wrote into a boot entry in place of the image's own, and only PCR 12 tells.
//
// [Predict] follows the stub of systemd 257, Debian 13's. An image that it cannot foretell is an error, and never a guess.
//
// # Where the signatures lie
//
// In the image's section .pcrsig, which the stub does not measure, in the form of systemd-measure(1). The builder leaves room in it, and whoever
// signs a release fills that: no header of the file changes, nor its size. So the image stays a function of its sources (with the section blanked
// it is the builder's, byte for byte; [Detach]), and who builds it needs no key. The alternatives were a file beside the image on the boot partition,
// which a power cut during an upgrade can part from it, and a field of the release's manifest, which a node that was installed from a disk image
// does not have. The stub hands the section to the initramfs as /.extra/tpm2-pcr-signature.json.
//
// The key is ECDSA on P-256 with deterministic nonces (RFC 6979), so a release that is signed twice has the same bytes. It is not the Ed25519 key that
// signs releases, since TPMs do not know that curve. A signature holds for good: a release that must not open disks any more needs another key.
package pcr
