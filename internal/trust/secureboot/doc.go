// Package secureboot signs what firmware starts, and says what firmware would start: EFI programs, the lists of certificates that it checks them
// against, and the signed variables by which it takes those lists.
//
// # What is signed
//
//   - EFI programs (the boot loader, the unified kernel image): an attribute certificate behind the program, as UEFI 2.10, 32.2.3 and the Windows
//     Authenticode Portable Executable Signature Format ask for. What is hashed is the whole file but three places: the checksum, the entry of
//     the certificates in the header, and the certificates. So it holds the signed policies of package pcr, which are put in before.
//   - Variables of the firmware (PK, KEK, db): time-based authenticated variables of UEFI 2.10, 8.2.2.
//   - Modules of the kernel: a kernel that was started with Secure Boot on takes only modules that are signed (kernel_lockdown(7)). Those of
//     OpenZFS are built here, and nobody else signs them. Debian's kernel takes for them what the firmware's db holds: Linux 6.12.117 of Debian 13
//     verifies a module's signature by its platform keyring too, which upstream's does not ("KEYS: Make use of platform keyring for module
//     signature" of its patches).
//
// All are PKCS #7 signatures (RFC 2315) with RSA as in PKCS #1 v1.5 and SHA-256, the one pair of algorithms that every firmware knows. None holds a
// time, or anything else that differs from one signature to the next: whatever is signed twice has the same bytes.
//
// # What is checked
//
// [Firmware] is read off the firmware's variables. [Firmware.Starts] is stricter than firmware where the two may differ: it takes only one signature, with
// SHA-256, and only programs without gaps between their parts, of which firmware hashes something else. So an upgrade that it lets pass does
// start, and one that it refuses could only have come from another tool.
package secureboot
