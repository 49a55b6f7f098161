package config

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// passphraseKind is the kind of a document that gives a machine the passphrase of its disk. It is no part of a configuration, as that of kind Owner is none:
// whoever reads the configuration of a node does not get it, and it is never stored on the disk that it opens.
const passphraseKind = "DiskPassphrase"

// Bounds of a passphrase, in bytes. The least is for one that a program has made of letters and digits: 16 of these have some 95 bits.
const (
	MinPassphraseBytes = 16
	MaxPassphraseBytes = 512
)

// TakePassphrase takes the document of kind DiskPassphrase out of data, and returns the passphrase, the zero Secret if there is none. The rest and the error
// are as those of TakeOwner; the error does not show the passphrase.
func TakePassphrase(name string, data []byte) (passphrase Secret, rest []byte, err error) {
	rest, err = takeAside(name, data, passphraseKind, func(d *decoder, node *yaml.Node) { passphrase = d.passphrase(node) })
	if err != nil {
		return Secret{}, rest, err
	}
	return passphrase, rest, nil
}

func (d *decoder) passphrase(node *yaml.Node) Secret {
	o := d.object(node, passphraseKind)
	o.requiredText("apiVersion", APIVersion, func(s string) bool { return s == APIVersion })
	o.take("kind")
	// In braces, what has no space behind its colon is a name as a whole: it is not to be shown as one that is not known.
	for i, name := range o.order {
		if strings.HasPrefix(name, "passphrase:") {
			o.order[i] = "passphrase"
		}
	}
	out := o.secret("passphrase", "a text of 16 to 512 bytes, without control characters, or spaces around it", func(s string) bool {
		return len(s) >= MinPassphraseBytes && len(s) <= MaxPassphraseBytes && isPassword(s)
	})
	o.done()
	return out
}
