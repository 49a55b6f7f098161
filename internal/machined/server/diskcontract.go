package server

import "context"

// Volume is one of the node's own volumes, or an encrypted disk of a pool, which counts as mounted while it is open.
type Volume struct {
	Name, Device string
	SizeBytes    uint64
	Mounted      bool
	Encrypted    bool
	// Recoverable says that it has a recovery key.
	Recoverable bool
	Reason      string // what it waits for; empty when it is in use
}

// Disks are the node's own volumes. Safe for concurrent use. Recovery keys are
// texts for people: no error shows any of one.
type Disks interface {
	// Volumes returns them in the order in which they are brought up.
	Volumes(ctx context.Context) ([]Volume, error)
	// RecoveryKey returns the key until it is forgotten. ErrNotFound where there is
	// none, ErrPrecondition where no volume is encrypted, ErrUnavailable while the
	// state volume is not mounted.
	RecoveryKey(ctx context.Context) (string, error)
	// ForgetRecoveryKey removes the key that is given, and no other: ErrInvalid.
	// ErrUnavailable while an encrypted volume is still to get it.
	ForgetRecoveryKey(ctx context.Context, key string) error
	// Recover opens a volume, a disk of a pool that another node has encrypted, or, as pools, all of those that the key opens. ErrNotFound for one that is not there, ErrInvalid for
	// another key, ErrPrecondition for a volume that is open or not encrypted.
	Recover(ctx context.Context, volume, key string) error
	// Reseal seals the state volume to the TPM as it is. ErrPrecondition where that
	// would not open it.
	Reseal(ctx context.Context) error
	// RotateKeys changes the keys of the encrypted volumes that are open, and returns
	// their names. ErrPrecondition where there is none, or as for Reseal; what was
	// done before an error is done.
	RotateKeys(ctx context.Context) ([]string, error)
}
