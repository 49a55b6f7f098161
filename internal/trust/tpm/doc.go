// Package tpm seals keys to the machine's TPM 2.0, so that they come out again while the machine runs what one signer has signed, and until that has
// what it needs.
//
// # The policy
//
//	PolicyAuthorize(signer's key)   PCRs 11, 12 and 13 have values that the signer has signed (package pcr)
//	PolicyPCR(fixed)                PCR 7, Secure Boot and its keys, is what it was when the key was sealed
//
// The first is why an upgrade needs no new sealing: the next release brings its own signed values. The second ties them to a machine whose firmware
// starts nothing else. Without Secure Boot it does not do that, and somebody who can start a program of his own on the machine can extend PCR 11 to
// any value he likes: then sealing keeps a disk that was taken away shut, and no more. [State] says which it is.
//
// # After the volumes are open
//
// [TPM.Cap] extends PCR 11 once more. From then until the next start nothing is unsealed any more, whatever runs. It is done as soon as the volumes
// have been looked at, whether one opened or not, and before anything that lies on them is acted on.
//
// A machine whose volumes are still to be made, and that waits for a configuration to say how, is not capped meanwhile: what is sealed then has to be seen to
// come out again before a disk depends on it. Nothing of its own is sealed yet, and nothing runs but the agent, which hands keys to nobody. Somebody who has put a
// blank volume in the place of state gets the machine into that state, and out of it only by a configuration: by that the volume is made, and the cap
// comes, before anything is mounted.
//
// It is half of what keeps a changed disk from opening the true one ("fake root"): whoever has the disk can put a volume of his own in the place of
// state, with a key that he has sealed to the same TPM under the same policy (sealing asks nobody), and the node starts with his configuration. The
// other half is that only state is sealed. The key of data lies on state: behind a state that is not the true one there is no key for data, and by
// then the TPM does not give out that of the true state. Nor may what it did give out be written to the volume that it opened: internal/trust/volumes keeps
// to that. A [Token] besides names the volume that it belongs to, which catches a mix-up of headers.
//
// # On the bus
//
// Keys travel between TPM and processor encrypted (AES-128 CFB, sessions salted with the TPM's storage key), so who listens on the bus of a TPM that
// is a chip of its own learns nothing. Somebody who sits between the two and changes what passes is not kept off by that: he can let the machine
// boot, and then ask the TPM himself. Against him only something that the machine does not know helps, as a passphrase.
//
// # What is left alone
//
// The storage key is made from the TPM's seed with the TCG's template for P-256 each time, and nothing is kept in the TPM. Sealed objects have no
// password, so nothing counts as an attempt at guessing one, and a TPM that is locked out still opens them (the attribute noDA).
package tpm
