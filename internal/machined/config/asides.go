package config

import "slices"

// Asides returns the kinds of documents that are no part of a configuration, and that users write beside one: [TakeOwner] and [TakePassphrase] read them.
func Asides() []Document {
	return []Document{
		{
			Kind: ownerKind,
			Doc: "Who may give the node its first configuration. It lies beside one, or in the place of one, where a node looks for its first. " +
				"It is not stored, and cannot be applied.",
			Fields: []Field{{
				Name: "key", Type: TypeText, Required: true,
				Doc: "The fingerprint SHA256:… of the owner's public key, or that key, as nodectl owner show prints them.",
			}},
		},
		{
			Kind: passphraseKind,
			Doc: "What opens the disk of a node at each boot, in the mode passphrase of Machine.disk.encryption. It lies beside a configuration, or in a place " +
				"before it, where a node looks for its first. It is not stored, and cannot be applied.",
			Fields: []Field{{
				Name: "passphrase", Type: TypeText, Required: true, Secret: true,
				Doc: "The passphrase: 16 to 512 bytes, without control characters, or spaces around it.",
			}},
		},
	}
}

// written are all kinds of documents that users write.
func written() []Document { return slices.Concat(Documents(), Asides()) }
