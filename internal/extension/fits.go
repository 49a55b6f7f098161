package extension

import (
	"errors"
	"fmt"

	"golang.org/x/mod/semver"
)

// ErrUnfit is for a good extension, but not one for the node, or the release, that it is held against.
var ErrUnfit = errors.New("it does not fit")

// Node is what an extension is held against: a node that runs, or a release that is to run on it.
type Node struct {
	Architecture string
	// Kernel is the release of its kernel, OS the version of the operating system.
	Kernel, OS string
}

// Name is an extension as a configuration names it.
type Name struct{ Name, Version string }

// String names it for a person.
func (n Name) String() string { return n.Name + " " + n.Version }

// ID is the name of a manifest's extension.
func (m Manifest) ID() Name { return Name{m.Name, m.Version} }

// Fits says whether an extension can be used on a node. The error is ErrUnfit and says what would have to be otherwise.
func (m Manifest) Fits(n Node) error {
	switch {
	case m.Architecture != n.Architecture:
		return fmt.Errorf("%w: it is for %s, not for %s", ErrUnfit, m.Architecture, n.Architecture)
	case m.Kernel != "" && m.Kernel != n.Kernel:
		return fmt.Errorf("%w: its modules are for kernel %s, not for %s", ErrUnfit, m.Kernel, n.Kernel)
	case m.OS.From != "" && semver.Compare("v"+n.OS, "v"+m.OS.From) < 0:
		return fmt.Errorf("%w: it is for version %s of the operating system and newer ones, not for %s", ErrUnfit, m.OS.From, n.OS)
	case m.OS.Before != "" && semver.Compare("v"+n.OS, "v"+m.OS.Before) >= 0:
		return fmt.Errorf("%w: it is for versions of the operating system before %s, not for %s", ErrUnfit, m.OS.Before, n.OS)
	}
	return nil
}
