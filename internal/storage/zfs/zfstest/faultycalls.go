package zfstest

import (
	"context"
	"maps"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// List implements zfs.System.
func (f *Faulty) List(ctx context.Context, q zfs.Query) (found []zfs.Dataset, err error) {
	err = f.read("List", func() (err error) {
		found, err = f.System.List(ctx, q)
		return err
	})
	return found, err
}

// Get implements zfs.System.
func (f *Faulty) Get(ctx context.Context, name string) (found zfs.Dataset, err error) {
	err = f.read("Get", func() (err error) {
		found, err = f.System.Get(ctx, name)
		return err
	})
	return found, err
}

// read makes a call that changes nothing.
func (f *Faulty) read(method string, call func() error) error {
	fault, err := f.take(method, false)
	if err != nil {
		return err
	}
	if fault.Do != nil {
		fault.Do()
	}
	if err := f.err(fault); err != nil {
		return err
	}
	return call()
}

// Holds implements zfs.System.
func (f *Faulty) Holds(ctx context.Context, snapshots ...string) (found map[string][]zfs.Hold, err error) {
	err = f.read("Holds", func() (err error) {
		found, err = f.System.Holds(ctx, snapshots...)
		return err
	})
	return found, err
}

// Estimate implements zfs.System.
func (f *Faulty) Estimate(ctx context.Context, s zfs.SendSpec) (bytes uint64, err error) {
	err = f.read("Estimate", func() (err error) {
		bytes, err = f.System.Estimate(ctx, s)
		return err
	})
	return bytes, err
}

// Token implements zfs.System.
func (f *Faulty) Token(ctx context.Context, token string) (t zfs.Token, err error) {
	err = f.read("Token", func() (err error) {
		t, err = f.System.Token(ctx, token)
		return err
	})
	return t, err
}

// Create implements zfs.System.
func (f *Faulty) Create(ctx context.Context, name string, o zfs.CreateOptions) error {
	return f.with("Create", func(fault Fault) error {
		o.Properties = fault.set(o.Properties)
		return f.System.Create(ctx, name, o)
	})
}

// set are the properties that a new dataset gets. What can be chosen only once comes with it in any case.
func (f Fault) set(properties map[string]string) map[string]string {
	if !f.Bare {
		return properties
	}
	once := maps.Clone(properties)
	maps.DeleteFunc(once, func(name, _ string) bool { return !natives[name].onceOnly && name != "keylocation" })
	return once
}

// Set implements zfs.System.
func (f *Faulty) Set(ctx context.Context, name string, properties map[string]string) error {
	return f.do("Set", func() error { return f.System.Set(ctx, name, properties) })
}

// Inherit implements zfs.System.
func (f *Faulty) Inherit(ctx context.Context, name, property string) error {
	return f.do("Inherit", func() error { return f.System.Inherit(ctx, name, property) })
}

// Rename implements zfs.System.
func (f *Faulty) Rename(ctx context.Context, from, to string) error {
	return f.do("Rename", func() error { return f.System.Rename(ctx, from, to) })
}

// Destroy implements zfs.System.
func (f *Faulty) Destroy(ctx context.Context, name string) error {
	return f.do("Destroy", func() error { return f.System.Destroy(ctx, name) })
}

// DestroySnapshots implements zfs.System.
func (f *Faulty) DestroySnapshots(ctx context.Context, names []string) error {
	return f.do("DestroySnapshots", func() error { return f.System.DestroySnapshots(ctx, names) })
}

// Snapshot implements zfs.System.
func (f *Faulty) Snapshot(ctx context.Context, names []string, user map[string]string) error {
	return f.do("Snapshot", func() error { return f.System.Snapshot(ctx, names, user) })
}

// Rollback implements zfs.System.
func (f *Faulty) Rollback(ctx context.Context, snapshot string) error {
	return f.do("Rollback", func() error { return f.System.Rollback(ctx, snapshot) })
}

// Clone implements zfs.System.
func (f *Faulty) Clone(ctx context.Context, snapshot, name string, properties map[string]string) error {
	return f.with("Clone", func(fault Fault) error { return f.System.Clone(ctx, snapshot, name, fault.set(properties)) })
}

// Promote implements zfs.System.
func (f *Faulty) Promote(ctx context.Context, name string) error {
	return f.do("Promote", func() error { return f.System.Promote(ctx, name) })
}

// Bookmark implements zfs.System.
func (f *Faulty) Bookmark(ctx context.Context, of, name string) error {
	return f.do("Bookmark", func() error { return f.System.Bookmark(ctx, of, name) })
}

// Hold implements zfs.System.
func (f *Faulty) Hold(ctx context.Context, tag string, snapshots ...string) error {
	return f.do("Hold", func() error { return f.System.Hold(ctx, tag, snapshots...) })
}

// Release implements zfs.System.
func (f *Faulty) Release(ctx context.Context, tag string, snapshots ...string) error {
	return f.do("Release", func() error { return f.System.Release(ctx, tag, snapshots...) })
}

// AbortReceive implements zfs.System.
func (f *Faulty) AbortReceive(ctx context.Context, name string) error {
	return f.do("AbortReceive", func() error { return f.System.AbortReceive(ctx, name) })
}
