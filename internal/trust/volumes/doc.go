// Package volumes opens the node's encrypted volumes: it implements storage.Crypt with LUKS2 (storage/luks) and one of the TPM (trust/tpm), a key server
// (trust/kms) and a passphrase (trust/passphrase).
//
//	TPM, or key
//	server with header,
//	or passphrase
//	with header ──▶ a key of state ──opens──▶ state ──holds──▶ keys/data      ──opens──▶ data
//	                                                └───────▶ keys/recovery  opens both, until it was shown to a person and is removed
//	                                                └───────▶ keys/state     opens state too, so that another key can be sealed when none is given out
//	                                                ├───────▶ keys/pool-*    each opens one disk of a declared pool
//	                                                └───────▶ keys/*.new     what is to take the place of one of them, while it is changed
//
// A volume's header names what opens it: a token of the type of tpm, kms or passphrase for the key that is sealed, and one of the type RecoveryType for the
// slot of the recovery key. By the first it is known, for the life of the volume, how it opens. A key that is sealed, in whatever mode, is made for that and is
// nothing else.
//
// A disk of a declared pool is a volume of its own, with a name that is made at random, and is the label in its header: by that its key is found, wherever the disk is
// plugged in. It has the recovery key too, so that it can be opened in another machine: there it gets a key of that machine's, which lies on its state.
//
// # Somebody else's volumes
//
// Whoever has the disk, with the machine off, can write anything onto it, and a header is not signed. What keeps him out:
//
//   - A header gets no key unless it is of the form that the node writes, in every field; then only who knows a key can have made a volume that opens with
//     it, whatever he made of the public parts of the true one (package storage/luks says why). So the keys each prove their volume: a state that opens
//     with what the true token gives out, one that opens with a recovery key that a person types, and a data that opens with the key on state.
//   - A token of a key server or a passphrase is bound to its parts by package wrap: who does not know the server's half, or the passphrase, can make no token
//     that the true half, or the passphrase, unwraps to a key of his. So with a passphrase there is no false state that opens by it.
//   - What remains is a state volume whose key he has sealed himself: to the TPM, or at a key server, his own or one that seals for everybody; they do not ask who
//     he is, and a header may name another way than the node was made with. The node starts with it, and with what is on it. There is no key for data on it; and
//     the TPM is told to give out nothing more before it is read (package trust/tpm).
//   - What is given out, by a TPM, a server or for a passphrase, is never written, neither there nor on the true state, and neither is a passphrase. What Enrol
//     keeps on a state is a key that it has made for that state. So a false one learns its own keys, and none of the true one's: nothing that is read from it later
//     opens a copy of the disk.
//   - The recovery key of the true state is put into a slot of data, which opened with a key that lies on state, and nowhere else.
//
// What stays possible is the disk's own past: a copy of both volumes that was made before, put back, is what the node was then.
//
// # What is made
//
// Before a volume is made, the TPM has to show that it gives the key out again in this very boot: a machine that was not started as the signer of its
// release demands (an image that was not signed, a command line that was added) gets no encrypted disk that the next boot could not open. A key server has
// to show the same. What the TPM refuses it refuses for the rest of the boot, and so that is kept; a server, and whoever gives the passphrase, may do
// better with the next attempt, and is asked again for as long as it takes.
package volumes
