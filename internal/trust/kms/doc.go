// Package kms has a key server over the network keep the key of a volume, so that the volume opens only where and while that server answers.
//
// # Two halves
//
//	node:   secret, half ◀── 32 random bytes each
//	server: sealed       ◀── Seal(machine's UUID, secret)
//	header: endpoint, CA, sealed, half, and the volume's key, wrapped with secret and half (package wrap)
//
// Who has the disk has all but the secret, which only the server gives out. The server, and who listens to it or has its logs, has the secret and not the
// other half: without the disk's header it opens nothing. Only both together do. The server keeps nothing of it: a disk whose header is overwritten is
// opened by nobody.
//
// # The protocol
//
// gRPC over TLS, the service sidero.kms.KMSService (api/proto/sidero/kms), which key servers of this field speak. The server is judged by the authorities
// that the configuration names, and by nothing else: the image has no list of public ones. It may ask for a certificate of the node's; that lies in the
// header with its key, in the clear, since it is needed before anything is open. So it keeps strangers from the server, and lets the server turn one node
// away; it proves nothing against who has the disk.
//
// What the server answers is believed when it unwraps the key: the reference implementation answers with random bytes to whom it does not know.
package kms
