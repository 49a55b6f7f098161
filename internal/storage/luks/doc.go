// Package luks makes, reads and opens LUKS2 volumes.
//
// # Why cryptsetup
//
// What writes the format is cryptsetup from Debian, run by one wrapper, and not code of this project's. A mistake in a key slot loses a disk, and
// it shows only when the slot is needed; cryptsetup is the implementation by which the format is defined, its volumes are opened by every rescue
// system, and it has been trusted with other people's data for twenty years. Go has no library that is kept and writes the format. On the image
// it takes 1.4 MB (of 325): the program 243 kB, libcryptsetup 603 kB, libdevmapper 449 kB, libjson-c 76 kB and libpopt 56 kB; what else it needs
// (libcrypto, libblkid, libuuid, libselinux, libudev, libm) is there for other programs. Sizes are those of Debian 13's cryptsetup 2.7.5 on amd64.
//
// What only reads is Go: [ReadHeader] tells what a partition holds, without a program, before anything is decided about it. So is one thing that writes:
// [Cryptsetup.Enclose] encrypts what goes into a volume that is a file, for which cryptsetup would need the device-mapper and a loop device. The header
// is cryptsetup's there too, and a test has the kernel read what was written.
//
// # How keys travel
//
// On standard input, and a second key through a pipe that the program inherits; never in an argument, which every process can read, nor in a file.
// Keys that are keys already (256 bits from a TPM or a random number generator) cost one pass of PBKDF2 with the fewest iterations that the
// format allows: there is nothing to guess. What people think up goes through Argon2id (RFC 9106) with a cost that does not depend on how busy the
// machine was that day, and memory that the smallest node has: see [Passphrase].
//
// # What a volume shows that opens
//
// A header is not signed: whoever has the disk writes what he likes into it. cryptsetup before 2.8.1 (commit b0821b11) opens a volume with any key at all whose
// slot is "encrypted" by cipher_null, and every version takes a segment with that cipher, which is no encryption. So [Cryptsetup.Open] gives no key to a header that
// is not of the node's own form, in every field ([Check]), and has cryptsetup read the very bytes that were checked, from a file in memory.
//
// In that form a key S opens slot i only if decrypting its area with PBKDF2(S, salt), or Argon2id, and merging the stripes gives a volume key V whose digest is
// the header's. All but S is public and can be written by anybody. But for S unknown the area decrypts to what nobody can foretell, so the V that comes out cannot
// be chosen, nor known: either it is the true V, since slot and digest are the true ones, or it has no digest that anybody could have written. With a V that is not
// known, and a segment that is aes-xts-plain64 under V, content cannot be chosen either, but for ciphertext of the same volume, of now or of before, sector by
// sector in its place. So a volume that opens with S was made by who knew S, or is the true one, perhaps as it was at another time. A code over the header
// with a key that is made of S would show no more than that, so there is none.
//
// It follows that S itself must never lie on a volume that it opens unless that volume's maker is known to be the node: see internal/trust/volumes.
//
// # Layout
//
// The header is 4 MiB and not 16, the default, since the volume state has 64: sixteen keys fit. Sectors have 4096 bytes, which suits the
// block size of both file systems and costs an eighth of the calls into the cipher.
package luks
