package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Apply carries out one operation.
func (r *Reconciler) Apply(ctx context.Context, spec Spec, op Op) error {
	err := r.apply(ctx, spec, op)
	if err != nil {
		r.enrolLast = op.Verb == Enrol && op.Volume == State
	}
	return err
}

func (r *Reconciler) apply(ctx context.Context, spec Spec, op Op) error {
	switch op.Verb {
	case Encrypt, Unlock, Extend, Enrol, Cap:
		return r.applyCrypt(ctx, spec, op)
	case Grow:
		return r.disk.Grow(ctx, spec.Disk, op.Partition.Number)
	case Record:
		return r.disk.Record(op.Volume, op.Clean)
	case Format:
		return r.disk.Format(ctx, op.Partition.Device, op.Volume)
	case FinishFormat:
		return r.disk.FinishFormat(ctx, op.Partition.Device)
	case Check:
		return r.disk.Check(ctx, op.Partition.Device)
	case MakeMountPoint:
		return r.mounts.MakeMountPoint(op.Dataset.Target)
	case MakeDirectory:
		return r.mounts.MakeDirectory(op.Directory.Path, op.Directory.Mode)
	}
	i := slices.IndexFunc(spec.Volumes, func(v Volume) bool { return v.Name == op.Volume })
	if i < 0 {
		return fmt.Errorf("find volume %s: not in the specification", op.Volume)
	}
	v := spec.Volumes[i]
	if v.Pool != nil {
		return r.applyPool(ctx, v.Pool, op)
	}
	if op.Verb == Mount {
		return r.mounts.Mount(op.Partition.Device, v.Target, FileSystem, v.Options)
	}
	panic(fmt.Sprintf("storage: unknown operation %q", op.Verb))
}

func (r *Reconciler) applyCrypt(ctx context.Context, spec Spec, op Op) error {
	if r.crypt == nil {
		return errors.New("this machine has no TPM 2.0, and nothing else that opens encrypted volumes: turn it on in the firmware's setup")
	}
	var how Encryption
	if i := slices.IndexFunc(spec.Volumes, func(v Volume) bool { return v.Name == op.Volume }); i >= 0 {
		how = spec.Volumes[i].Encryption
	}
	switch op.Verb {
	case Encrypt:
		return r.crypt.Encrypt(ctx, op.Volume, op.Partition.Device, how)
	case Unlock:
		return r.crypt.Unlock(ctx, op.Volume, op.Partition.Device, how)
	case Extend:
		return r.crypt.Extend(ctx, op.Volume)
	case Enrol:
		return r.crypt.Enrol(ctx, op.Volume, op.Partition.Device)
	case Cap:
		return r.crypt.Cap(ctx)
	}
	panic(fmt.Sprintf("storage: unknown operation %q", op.Verb))
}

func (r *Reconciler) applyPool(ctx context.Context, p *Pool, op Op) error {
	switch op.Verb {
	case MakePool:
		return r.makePool(ctx, p, op.Partition.Device)
	case Import:
		return r.pools.Import(ctx, p.Name, op.GUID, op.Partition.Device)
	case Expand:
		return r.pools.Expand(ctx, p.Name, op.Partition.Device)
	case MakeDataset:
		return r.pools.MakeDataset(ctx, op.Source, op.Properties)
	case SetDataset:
		return r.pools.SetDataset(ctx, op.Source, op.Properties)
	case Mount:
		return r.mounts.Mount(op.Source, op.Dataset.Target, PoolMember, op.Dataset.Options)
	}
	panic(fmt.Sprintf("storage: unknown operation %q", op.Verb))
}

// makePool makes a pool under the mark that says so: one that lies there with the mark was never used, and is made again.
func (r *Reconciler) makePool(ctx context.Context, p *Pool, device string) error {
	if err := r.disk.BeginPool(ctx, device); err != nil {
		return err
	}
	if err := r.pools.Make(ctx, p.Name, device, p.Properties, p.Inherited); err != nil {
		return err
	}
	return r.disk.FinishFormat(ctx, device)
}
