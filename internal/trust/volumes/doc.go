// Package volumes opens the node's encrypted volumes: it implements storage.Crypt with LUKS2 (storage/luks) and the TPM (trust/tpm).
//
//	TPM ──seals──▶ a key of state ──opens──▶ state ──holds──▶ keys/data      ──opens──▶ data
//	                                                └───────▶ keys/recovery  opens both, until it was shown to a person and is removed
//	                                                └───────▶ keys/state     opens state too, so that another key can be sealed when the TPM gives out none
//	                                                └───────▶ keys/*.new     what is to take the place of one of them, while it is changed
//
// A volume's header names what opens it: a token of the type tpm.TokenType for the key that is sealed, and one of the type RecoveryType for the slot
// of the recovery key.
//
// # Somebody else's volumes
//
// Whoever has the disk, with the machine off, can write anything onto it, and a header is not signed. What keeps him out:
//
//   - A header gets no key unless it is of the form that the node writes, in every field; then only who knows a key can have made a volume that opens with
//     it, whatever he made of the public parts of the true one (package storage/luks says why). So the three keys each prove their volume: a state that opens
//     with what the TPM gave out for the true token, one that opens with a recovery key that a person types, and a data that opens with the key on state.
//   - What remains is a state volume whose key he has sealed to the TPM himself, which asks nobody who he is. The node starts with it, and with what is on
//     it. There is no key for data on it; and the TPM is told to give out nothing more before it is read (package trust/tpm).
//   - What the TPM gives out is never written, neither there nor on the true state. What Enrol keeps on a state is a key that it has made for that state. So a
//     false one learns its own keys, and none of the true one's: nothing that is read from it later opens a copy of the disk.
//   - The recovery key of the true state is put into a slot of data, which opened with a key that lies on state, and nowhere else.
//
// What stays possible is the disk's own past: a copy of both volumes that was made before, put back, is what the node was then.
//
// # What is made
//
// Before a volume is made, the TPM has to show that it gives the key out again in this very boot: a machine that was not started as the signer of its
// release demands (an image that was not signed, a command line that was added) gets no encrypted disk that the next boot could not open.
package volumes
