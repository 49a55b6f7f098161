// Package maintenance decides whom a node answers before it has a configuration, and what its console says then. It is pure: the agent brings the facts and
// does what follows from them; package server refuses or admits each call by the outcome.
//
// # States
//
//	Starting ──── a configuration is in force ───────────────► Configured
//	   │                                                           ▲
//	   │ none was found                                            │ one is applied, or found after all
//	   ▼                                                           │
//	one of Closed, Open and Owned ─────────────────────────────────┘
//
//	Closed ── there is no owner ──► Open ── a place names one ──► Owned
//	   └───────────────────── a place names one ─────────────────────┘
//
// Starting and Closed answer nobody, Owned answers the owner, and Open answers anybody, but only what the node is and what the machine is made of. The way back
// to maintenance is a boot without a configuration.
//
// # Why a stranger cannot configure a node
//
// A call is taken only from a peer whose TLS handshake proves that it holds the key of a client certificate which the owner's key has signed. Nodes know the
// owner by the SHA-256 of that key; the key itself comes in the handshake, behind the client's certificate. No certificate in between is looked at: one
// signature, by that one key, over the certificate that the peer holds. TLS 1.3 signs the whole handshake, the node's certificate included, so what an
// owner has shown to one node, or to somebody between, is of no use at another.
//
// The owner's key comes from where a configuration could come from, and from nothing that is weaker: whoever can write the image, the kernel command line, the
// firmware's tables, a volume or the user data could give the node a whole configuration. Nothing that arrives over the API names an owner, so there is no race
// for a node that has none: it cannot be claimed over the network, and gives out what it is and no more.
//
// The places are looked at in an order, the harder to forge the earlier. The first that names a key wins; others that name another are told of and change
// nothing, also when they come up before it later in the same run. A place that cannot be read, or names what is no key, holds those behind it: the node then
// answers nobody (Closed), since "no owner" would open it and the next place's might be another's.
//
// # Why an owner does not configure the wrong node
//
// The node's certificate is for a key of its own, whose fingerprint its console shows; nodectl wants it and compares before it sends anything, or signs. There
// is no trust on first use. The key is on the state volume, so that the fingerprint outlives a restart, and stays when the node has its configuration: then the
// configuration's authority signs for it. A node without a state volume has its key in memory, and another fingerprint after each restart.
//
// # Time
//
// A node without a configuration asks nobody for the time, so its clock may be anything that the machine's hardware says, though never before its image was
// built: init sees to that. A certificate that is not valid yet is taken: the owner has signed it, and it is the clock that is behind. One that has ended by the
// node's clock is refused: a clock that is behind makes old certificates good again, for as long as it is behind, and one that is ahead ends good
// ones early. nodectl makes its certificates in memory for one call, by the clock of the node, which it reads off the node's certificate once that has
// been compared; so a wrong clock keeps no owner out, and there is nothing to be replayed.
//
// # Afterwards
//
// Who is answered is decided with each call, by the state of that moment. When a configuration is in force, calls under way are ended with words, and
// connections closed; the owner's key has no say any more, until the node boots without a configuration.
package maintenance
