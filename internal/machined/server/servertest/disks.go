package servertest

import (
	"context"
	"fmt"
	"slices"

	"github.com/cyvive/cyvive/internal/machined/server"
)

// Disks are a node's volumes, and its recovery key; an empty one was forgotten.
type Disks struct {
	List        []server.Volume
	RecoveryKey string
	// Resealed counts how often the disk was sealed, Rotated how often keys were changed.
	Resealed, Rotated int
	// opens is the key that opens the volumes: RecoveryKey, also when that was
	// forgotten.
	opens string
}

var _ server.Disks = (*Node)(nil)

// Volumes implements server.Disks.
func (n *Node) Volumes(context.Context) ([]server.Volume, error) {
	err := n.called("volumes")
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.Disks.List), err
}

// RecoveryKey implements server.Disks.
func (n *Node) RecoveryKey(context.Context) (string, error) {
	err := n.called("recovery key")
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil && n.Disks.RecoveryKey == "" {
		err = fmt.Errorf("%w: there is no recovery key that was not shown yet", server.ErrNotFound)
	}
	return n.Disks.RecoveryKey, err
}

// ForgetRecoveryKey implements server.Disks.
func (n *Node) ForgetRecoveryKey(_ context.Context, key string) error {
	err := n.called("forget recovery key")
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case err != nil:
		return err
	case key != n.Disks.RecoveryKey:
		return fmt.Errorf("%w: it is the recovery key of something else", server.ErrInvalid)
	}
	n.Disks.opens, n.Disks.RecoveryKey = key, ""
	return nil
}

// Recover implements server.Disks.
func (n *Node) Recover(_ context.Context, volume, key string) error {
	err := n.called("recover " + volume)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil {
		return err
	}
	for i, v := range n.Disks.List {
		switch {
		case v.Name != volume:
			continue
		case v.Mounted || !v.Encrypted:
			return fmt.Errorf("%w: volume %s is open, or not encrypted", server.ErrPrecondition, volume)
		case key != n.Disks.RecoveryKey && key != n.Disks.opens || key == "":
			return fmt.Errorf("%w: it is the recovery key of something else", server.ErrInvalid)
		}
		n.Disks.List[i].Mounted, n.Disks.List[i].Reason = true, ""
		return nil
	}
	return fmt.Errorf("%w: no volume %s", server.ErrNotFound, volume)
}

// Reseal implements server.Disks.
func (n *Node) Reseal(context.Context) error {
	err := n.called("reseal")
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil {
		n.Disks.Resealed++
	}
	return err
}

// RotateKeys implements server.Disks.
func (n *Node) RotateKeys(context.Context) ([]string, error) {
	err := n.called("rotate keys")
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, v := range n.Disks.List {
		if v.Encrypted && v.Mounted {
			names = append(names, v.Name)
		}
	}
	if names == nil {
		return nil, fmt.Errorf("%w: no encrypted volume is open", server.ErrPrecondition)
	}
	n.Disks.Rotated++
	return names, nil
}
