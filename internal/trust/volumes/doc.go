// Package volumes opens the node's encrypted volumes: it implements storage.Crypt with LUKS2 (storage/luks) and one of the TPM (trust/tpm), a key server
// (trust/kms) and a passphrase (trust/passphrase).
//
//	TPM, or key
//	server with header,
//	or passphrase
//	with header ──▶ key of state ──opens──▶ state ──holds──▶ keys/data      ──opens──▶ data
//	                                              └───────▶ keys/recovery  opens both, until it was shown to a person and is removed
//	                                              └───────▶ keys/state     its own, so that it can be sealed anew when it is given out no more
//	                                              └───────▶ keys/*.new     what is to take the place of one of them, while it is changed
//
// A volume's header names what opens it: a token of the type of tpm, kms or passphrase for the key that is sealed, and one of the type RecoveryType for the
// slot of the recovery key. By the first it is known, for the life of the volume, how it opens. Nothing in a header is believed before a key has opened the
// volume, and what a key opens may still be a volume of somebody else's making: package trust/tpm says why that does no harm.
//
// Before a volume is made, the TPM has to show that it gives the key out again in this very boot: a machine that was not started as the signer of its
// release demands (an image that was not signed, a command line that was added) gets no encrypted disk that the next boot could not open. A key server has
// to show the same. What the TPM refuses it refuses for the rest of the boot, and so that is kept; a server, and whoever gives the passphrase, may do
// better with the next attempt, and is asked again for as long as it takes.
package volumes
