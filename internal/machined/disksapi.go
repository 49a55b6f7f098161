package machined

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/trust/kms"
	"github.com/cyvive/cyvive/internal/trust/passphrase"
	"github.com/cyvive/cyvive/internal/trust/pcr"
	"github.com/cyvive/cyvive/internal/trust/recovery"
	"github.com/cyvive/cyvive/internal/trust/tpm"
	"github.com/cyvive/cyvive/internal/trust/volumes"
	"github.com/cyvive/cyvive/internal/trust/wrap"
)

// Vault is what opens encrypted volumes, as the API needs it. *volumes.Volumes implements it.
type Vault interface {
	RecoveryKey() (recovery.Key, error)
	ForgetRecoveryKey(k recovery.Key, devices map[string]string) error
	Recover(ctx context.Context, volume, device string, k recovery.Key) error
	Reseal(ctx context.Context, device string, how storage.Encryption) error
	Rotate(ctx context.Context, volume, device string, how storage.Encryption) error
	// Keyed says that the state volume, which is mounted, has a key for a volume, or may have one.
	Keyed(volume string) bool
	// RecoverDisk opens an encrypted disk of a pool with the recovery key of the node that has made it, and gives it a key of this node's where that has a place.
	RecoverDisk(ctx context.Context, name, partition string, k recovery.Key) error
}

// disksAPI implements server.Disks.
type disksAPI struct{ a *Agent }

// Volumes implements server.Disks.
func (d disksAPI) Volumes(context.Context) ([]server.Volume, error) {
	var out []server.Volume
	for _, v := range d.a.snapshot().storage.Status.Volumes {
		out = append(out, server.Volume{
			Name: v.Name, Device: v.Device, SizeBytes: v.SizeBytes, Mounted: v.Mounted, Encrypted: v.Encrypted, Recoverable: v.Enrolled, Reason: v.Reason,
		})
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: the node has not looked at its disk yet", server.ErrUnavailable)
	}
	return append(out, d.poolDisks()...), nil
}

// volume returns what is known of a volume that is encrypted.
func (d disksAPI) volume(name string) (storage.VolumeStatus, error) {
	if d.a.cfg.Vault == nil {
		return storage.VolumeStatus{}, fmt.Errorf("%w: this node has no encrypted volume", server.ErrPrecondition)
	}
	for _, v := range d.a.snapshot().storage.Status.Volumes {
		switch {
		case v.Name != name:
		case !v.Encrypted:
			return v, fmt.Errorf("%w: volume %s is not encrypted", server.ErrPrecondition, name)
		default:
			return v, nil
		}
	}
	return storage.VolumeStatus{}, fmt.Errorf("%w: the node has no volume %.40q, or has not looked at its disk yet", server.ErrNotFound, name)
}

// state is volume for the state volume, which must be mounted: keys lie on it.
func (d disksAPI) state() (storage.VolumeStatus, error) {
	v, err := d.volume(storage.State)
	switch {
	case err != nil:
		return v, err
	case !v.Mounted:
		return v, fmt.Errorf("%w: keys are kept on volume %s: %s", server.ErrUnavailable, storage.State, v.Reason)
	}
	return v, d.a.since(inTime)
}

// RecoveryKey implements server.Disks.
func (d disksAPI) RecoveryKey(ctx context.Context) (string, error) {
	if _, err := d.state(); err != nil {
		return "", err
	}
	if err := ctx.Err(); err != nil {
		return "", err // who was let in when it began may not be by now
	}
	k, err := d.a.cfg.Vault.RecoveryKey()
	if err != nil {
		return "", diskClassed(err)
	}
	return k.Reveal(), nil
}

// ForgetRecoveryKey implements server.Disks.
func (d disksAPI) ForgetRecoveryKey(_ context.Context, key string) error {
	k, err := recovery.Parse(key)
	if err != nil {
		return fmt.Errorf("%w: %w", server.ErrInvalid, err)
	}
	if _, err := d.state(); err != nil {
		return err
	}
	devices, err := d.enrolledDisks()
	if err != nil {
		return err
	}
	for _, v := range d.a.snapshot().storage.Status.Volumes {
		switch {
		case v.Encrypted:
			devices[v.Name] = v.Device
		case !v.Mounted && !v.Refused:
			return fmt.Errorf("%w: volume %s may still need the recovery key: %s", server.ErrUnavailable, v.Name, v.Reason)
		}
	}
	if err := d.a.cfg.Vault.ForgetRecoveryKey(k, devices); err != nil {
		return diskClassed(err)
	}
	d.a.wakers[plan.Storage].Wake() // for what is said of a key that waits to be noted
	return nil
}

// Recover implements server.Disks. The loop of the storage finds the volume open, and goes on from there.
func (d disksAPI) Recover(ctx context.Context, name, key string) error {
	k, err := recovery.Parse(key)
	if err != nil {
		return fmt.Errorf("%w: %w", server.ErrInvalid, err)
	}
	if isPoolDisk(name) {
		return d.recoverDisks(ctx, name, k)
	}
	v, err := d.volume(name)
	switch {
	case err != nil:
		return err
	case v.Mounted:
		return fmt.Errorf("%w: volume %s is open", server.ErrPrecondition, name)
	}
	if err := d.a.cfg.Vault.Recover(ctx, name, v.Device, k); err != nil {
		return diskClassed(err)
	}
	d.a.log.Warn("a volume was opened with its recovery key", "volume", name)
	d.a.events.Add(server.EventAgent, "volume "+name, "recovered", "opened with its recovery key")
	d.a.wakers[plan.Storage].Wake()
	return nil
}

// how is what the state volume's key is sealed with now: the configuration's key server, and the passphrase as the places give it, with the name of the place.
func (d disksAPI) how(ctx context.Context, state storage.VolumeStatus) (how storage.Encryption, from string, err error) {
	in := d.a.snapshot().input
	wanted := config.Encryption{Mode: in.Encryption, KMS: in.KeyServer}
	if in.Config != nil {
		wanted = in.Config.Machine.Disk.Encryption
	}
	// Where its token is lost, the configuration says what opens it.
	if state.By == storage.Passphrase || state.By == storage.Plain && wanted.Mode == config.EncryptionPassphrase {
		p, err := d.a.askPassphrase(ctx)
		if err != nil {
			return how, "", err
		}
		in.Passphrase, from = p.Text, p.From
	}
	return plan.Encryption(wanted, in.Passphrase), from, nil
}

// Reseal implements server.Disks. What was begun is done, also if the caller hangs up.
func (d disksAPI) Reseal(ctx context.Context) error {
	v, err := d.state()
	if err != nil {
		return err
	}
	how, from, err := d.how(ctx, v)
	if err != nil {
		return err
	}
	if err := d.a.cfg.Vault.Reseal(context.WithoutCancel(ctx), v.Device, how); err != nil {
		return diskClassed(err)
	}
	what := "its key is sealed to the TPM as it is now"
	switch cmp.Or(v.By, how.Mode) {
	case storage.KMS:
		what = "the key server " + how.Server.Endpoint + " keeps half of its key"
	case storage.Passphrase:
		what = "its key is opened by the passphrase that the machine is given now by " + from
	}
	d.a.log.Warn("the state volume was sealed anew", "how", what)
	d.a.events.Add(server.EventAgent, "volume "+storage.State, "resealed", what)
	d.a.wakers[plan.Storage].Wake() // for what is said of how it is sealed
	return nil
}

// RotateKeys implements server.Disks. What was begun is done, also if the caller hangs up.
func (d disksAPI) RotateKeys(ctx context.Context) ([]string, error) {
	state, err := d.state()
	if err != nil {
		return nil, err
	}
	how, _, err := d.how(ctx, state)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, v := range d.a.snapshot().storage.Status.Volumes {
		if !v.Encrypted || !v.Mounted {
			continue
		}
		if err := d.a.cfg.Vault.Rotate(context.WithoutCancel(ctx), v.Name, v.Device, how); err != nil {
			return names, diskClassed(err)
		}
		d.a.log.Warn("a volume has another key", "volume", v.Name)
		d.a.events.Add(server.EventAgent, "volume "+v.Name, "key changed", "the key before opens it no more")
		d.a.wakers[plan.Storage].Wake()
		names = append(names, v.Name)
	}
	var errs []error // one disk that cannot be written to keeps no other from another key
	for _, c := range d.containers() {
		if !c.Open || !c.Keyed {
			continue
		}
		if err := d.a.cfg.Vault.Rotate(context.WithoutCancel(ctx), c.Name, c.Partition, how); err != nil {
			errs = append(errs, diskClassed(err))
			continue
		}
		d.a.log.Warn("an encrypted disk has another key", "disk", c.Name)
		d.a.events.Add(server.EventAgent, "disk "+c.Name, "key changed", "the key before opens it no more")
		names = append(names, c.Name)
	}
	return names, errors.Join(errs...)
}

// diskClassed gives an error of the vault the class that clients are told.
func diskClassed(err error) error {
	var changed *tpm.ChangedError
	if errors.As(err, &changed) { // the machine was started otherwise than what is sealed demands
		return fmt.Errorf("%w: %w", server.ErrPrecondition, err)
	}
	for class, errs := range map[error][]error{
		server.ErrNotFound:    {volumes.ErrNoRecoveryKey},
		server.ErrInvalid:     {volumes.ErrOtherRecoveryKey},
		server.ErrUnavailable: {volumes.ErrNotEnrolled, volumes.ErrOther, kms.ErrServer},
		server.ErrPrecondition: {
			volumes.ErrOpen, volumes.ErrForm, volumes.ErrFull, volumes.ErrNotNoted, volumes.ErrNoPlace, pcr.ErrUnsigned, volumes.ErrNoSigner, tpm.ErrNone, tpm.ErrBank, tpm.ErrOwned, volumes.ErrNoKeyServer,
			passphrase.ErrNone, passphrase.ErrWrong, wrap.ErrNoMachine, wrap.ErrOtherMachine,
		},
	} {
		for _, e := range errs {
			if errors.Is(err, e) {
				return fmt.Errorf("%w: %w", class, err)
			}
		}
	}
	return err
}
