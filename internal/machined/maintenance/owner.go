package maintenance

import (
	"fmt"
	"slices"

	"github.com/cyvive/cyvive/internal/pki"
)

// Claim is what one place says of the node's owner.
type Claim struct {
	// From is the place, in words for a person.
	From string
	// Key is the owner's; zero if there is a Problem.
	Key pki.Fingerprint
	// Problem is why it cannot be told what the place says.
	Problem string
	// Measured says that the place is a part of what was started, or was added to it where a TPM notices: the image and its command line.
	Measured bool
}

// Owner is who may give the node its configuration. The zero Owner is none.
type Owner struct {
	// Key is zero if the node has no owner, or if that is not known.
	Key  pki.Fingerprint
	From string
	// Problem is why it is not known whether the node has an owner.
	Problem string
	// Conflicts are places that say something else, in words.
	Conflicts []string
}

// After is the owner once places were looked at again; claims are in the order of the places. A key that was taken stays.
func (o Owner) After(claims []Claim) Owner {
	if o.Key.IsZero() {
		o = Owner{}
		if len(claims) == 0 {
			return o
		}
		o.Key, o.From, o.Problem = claims[0].Key, claims[0].From, claims[0].Problem
		if o.Problem != "" {
			o.Problem = o.From + ": " + o.Problem
		}
	}
	o.Conflicts = nil
	for _, c := range claims {
		text := fmt.Sprintf("%s: %s", c.From, c.Key)
		switch {
		case c.Problem == "" && c.Key == o.Key, o.Key.IsZero() && c.From == o.From:
			continue
		case c.Problem != "":
			text = c.From + ": " + c.Problem
		}
		if !slices.Contains(o.Conflicts, text) {
			o.Conflicts = append(o.Conflicts, text)
		}
	}
	return o
}
