package release

import (
	"errors"
	"fmt"

	"golang.org/x/mod/semver"
)

// ErrUnwanted: a good release, but not one for this node.
var ErrUnwanted = errors.New("not a release for this node")

// Node is what a release is held against.
type Node struct {
	Version, Architecture, RootHash string
	// Floor is the oldest version that a node of this release may be taken to: older ones do not understand what it has written, or have
	// flaws that it closes. Empty allows all.
	Floor string
	// SlotBytes, VerityBytes and KernelBytes are the sizes of the partitions, and what the boot partition has left.
	SlotBytes, VerityBytes, KernelBytes int64
}

// Check says whether a node may take a release. Without downgrade only newer versions and other builds of the same one are taken; with it, older
// ones down to the floor too. The error is ErrUnwanted and says what would have to be otherwise.
func (m Manifest) Check(n Node, downgrade bool) error {
	switch {
	case m.Architecture != n.Architecture:
		return fmt.Errorf("%w: it is for %s, the node is %s", ErrUnwanted, m.Architecture, n.Architecture)
	case m.RootHash == n.RootHash:
		return fmt.Errorf("%w: the node runs it already (version %s)", ErrUnwanted, n.Version)
	}
	if err := n.CanRun(m.Version); err != nil {
		return err
	}
	switch {
	case semver.Compare("v"+m.Version, "v"+n.Version) < 0 && !downgrade:
		return fmt.Errorf("%w: version %s is older than the node's %s; a downgrade must be asked for as one", ErrUnwanted, m.Version, n.Version)
	case m.RootBytes > n.SlotBytes:
		return fmt.Errorf("%w: its root has %d bytes, the node's slot %d", ErrUnwanted, m.RootBytes, n.SlotBytes)
	case m.File(Verity).Bytes > n.VerityBytes:
		return fmt.Errorf("%w: its hash tree has %d bytes, the node's partition %d", ErrUnwanted, m.File(Verity).Bytes, n.VerityBytes)
	case m.File(Kernel).Bytes > n.KernelBytes:
		return fmt.Errorf("%w: its kernel image has %d bytes, the boot partition takes %d", ErrUnwanted, m.File(Kernel).Bytes, n.KernelBytes)
	}
	return nil
}

// CanRun says whether the node may be taken to a version at all, be it one that it has run before: none below the floor. The error is ErrUnwanted.
func (n Node) CanRun(version string) error {
	if n.Floor != "" && semver.Compare("v"+version, "v"+n.Floor) < 0 {
		return fmt.Errorf("%w: version %s is older than %s, the oldest that a node of version %s can go back to", ErrUnwanted, version, n.Floor, n.Version)
	}
	return nil
}
