package machined

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	installv1 "github.com/cyvive/cyvive/api/proto/install/v1"
	inventoryv1 "github.com/cyvive/cyvive/api/proto/inventory/v1"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/install"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/release"
	"github.com/cyvive/cyvive/internal/storage"
)

// Installs is what the agent needs to put the node onto other disks.
type Installs struct {
	Installer *install.Installer
	// Running is the release that runs, and its boot partition.
	Running install.Source
	// Started is install.Started for the disk that the node runs from. It is called once, before the volumes are used.
	Started func() error
	// Sealer returns what encrypts a disk in a way; nil where the Installer has it.
	Sealer func(storage.Encryption) install.Sealer
}

// installsAPI implements server.Installs.
type installsAPI struct{ a *Agent }

// PlanInstall implements server.Installs.
func (v installsAPI) PlanInstall(ctx context.Context, t *installv1.Target, by string) (*installv1.InstallPlan, error) {
	var out *installv1.InstallPlan
	err := v.with(ctx, t, by, func(i *install.Installer, req install.Request, s install.Source) error {
		p, err := i.Plan(ctx, req, s)
		if err == nil {
			out = planToProto(p)
		}
		return err
	})
	return out, installClassed(err)
}

// RunInstall implements server.Installs.
func (v installsAPI) RunInstall(ctx context.Context, t *installv1.Target, by string, send func(*installv1.InstallResponse) error) error {
	err := v.with(ctx, t, by, func(i *install.Installer, req install.Request, s install.Source) error {
		planned := func(p install.Plan) error {
			if err := send(&installv1.InstallResponse{Part: &installv1.InstallResponse_Plan{Plan: planToProto(p)}}); err != nil || len(p.Tasks) > 0 {
				return err
			}
			return send(progressToProto(install.Progress{Step: install.Complete}))
		}
		_, err := i.Install(ctx, req, s, planned, func(p install.Progress) error { return send(progressToProto(p)) })
		return err
	})
	return installClassed(err)
}

// with finds what is to be installed, and calls use with it.
func (v installsAPI) with(
	ctx context.Context, t *installv1.Target, by string, use func(*install.Installer, install.Request, install.Source) error,
) error {
	if v.a.cfg.Installs == nil {
		return fmt.Errorf("%w: this node was not started from a slot of a disk, so there is nothing to install from", server.ErrPrecondition)
	}
	if err := v.a.goingDown(); err != nil {
		return err
	}
	configuration, how, err := v.configuration(ctx, t.GetConfiguration())
	if err != nil {
		return err
	}
	d := t.GetDisk()
	req := install.Request{
		Disk: install.Selector{
			Sizes: d.GetSizes(), Type: d.GetType(), Model: d.GetModel(), Serial: d.GetSerial(), WWN: d.GetWwn(), Bus: d.GetBus(), Path: d.GetPath(),
		},
		Wipe: t.GetWipe(), Configuration: configuration, Encrypted: how.Mode.Encrypts(), By: by,
	}
	if req.SealingKey, err = v.a.handedOn(configuration, how); err != nil {
		return err
	}
	i := v.a.cfg.Installs
	if req.Encrypted && i.Sealer != nil {
		req.Sealer = i.Sealer(how)
	}
	switch how.Mode {
	case storage.KMS:
		req.OpenedBy = "the key server " + how.Server.Endpoint
	case storage.Passphrase:
		req.OpenedBy = "the passphrase that this machine is given"
	}
	if !t.GetPushed() {
		return use(i.Installer, req, i.Running)
	}
	k, err := upgradesAPI(v).keeper()
	if err != nil {
		return err
	}
	return k.Pushed(func(m release.Manifest, open func(string) (io.ReadCloser, error)) error {
		return use(i.Installer, req, pushedSource{m, open, i.Running})
	})
}

// configuration is what the installed node is to have: what is given, or what this node has; and how its disk is encrypted by it. A node that has not looked for a
// passphrase since it has its configuration does so, if the other disk needs one.
func (v installsAPI) configuration(ctx context.Context, given []byte) (documents []byte, how storage.Encryption, err error) {
	what, class := "the configuration for the installed node", server.ErrInvalid
	if documents = given; len(given) == 0 {
		what, class = "the configuration of this node, which the installed one is to have", server.ErrPrecondition
		if documents, err = v.a.ownDocuments(); documents == nil || err != nil {
			return nil, how, err
		}
	}
	cfg, err := config.ParseSealed("configuration", documents, v.a.unseal)
	if err == nil {
		_, err = inputOf(cfg)
	}
	if err != nil {
		return nil, how, fmt.Errorf("%w: %s: %w", class, what, err)
	}
	passphrase := v.a.snapshot().input.Passphrase
	if cfg.Machine.Disk.Encryption.Mode == config.EncryptionPassphrase && passphrase.IsZero() {
		p, err := v.a.askPassphrase(ctx)
		if err != nil {
			return nil, how, err
		}
		passphrase = p.Text
	}
	return documents, plan.Encryption(cfg.Machine.Disk.Encryption, passphrase), nil
}

// ownDocuments are the documents of the node's configuration; nil if it has none.
func (a *Agent) ownDocuments() ([]byte, error) {
	c, began := &a.configs, a.snapshot().came
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := a.since(began); err != nil {
		return nil, err
	}
	if c.store != nil {
		if c.store.Record().Trying != nil {
			return nil, fmt.Errorf("%w: the configuration of this node is on trial; confirm it, or wait until it is taken back", server.ErrPrecondition)
		}
		r, err := c.store.Current()
		if err != nil {
			return nil, fmt.Errorf("read the configuration of this node: %w", err)
		}
		if r != nil {
			return r.Document, nil
		}
	}
	if c.found != nil {
		return c.found.Data, nil
	}
	return nil, nil
}

// pushedSource is a release that was pushed, with the boot loader of the running one.
type pushedSource struct {
	manifest release.Manifest
	open     func(name string) (io.ReadCloser, error)
	running  install.Source
}

// Release implements install.Source.
func (s pushedSource) Release(context.Context) (install.Release, error) {
	m := s.manifest
	return install.Release{
		Version: m.Version, Architecture: m.Architecture, RootHash: m.RootHash, KernelBytes: m.File(release.Kernel).Bytes, Pushed: true,
	}, nil
}

// Root implements install.Source.
func (s pushedSource) Root(context.Context) (io.ReadCloser, error) { return s.open(release.Root) }

// Verity implements install.Source.
func (s pushedSource) Verity(context.Context) (io.ReadCloser, error) { return s.open(release.Verity) }

// Boot implements install.Source.
func (s pushedSource) Boot(ctx context.Context, use func(install.Boot) error) error {
	kernel, err := s.open(release.Kernel)
	if err != nil {
		return err
	}
	defer kernel.Close()
	return s.running.Boot(ctx, func(b install.Boot) error {
		b.Kernel = kernel
		return use(b)
	})
}

// InstallDisks lists the disks of an inventory for an installation. System is the kernel's name of the one that the node runs from. Look fills in what
// is on another, and who uses it.
func InstallDisks(i server.Inventory, system string, look func(*install.Disk) error) func(context.Context) ([]install.Disk, error) {
	return func(ctx context.Context) ([]install.Disk, error) {
		all, err := i.Inventory(ctx, false)
		if err != nil {
			return nil, fmt.Errorf("list disks: %w", err)
		}
		var out []install.Disk
		for _, d := range all.GetDisks() {
			disk := diskOf(d)
			disk.System = disk.Name == system
			if !disk.System && disk.SizeBytes > 0 {
				if err := look(&disk); err != nil {
					disk.Problem = err.Error()
				}
			}
			out = append(out, disk)
		}
		return out, nil
	}
}

func diskOf(d *inventoryv1.Disk) install.Disk {
	bus := strings.ToLower(strings.TrimPrefix(d.GetBus().String(), "DISK_BUS_"))
	if d.GetBus() == inventoryv1.DiskBus_DISK_BUS_UNSPECIFIED {
		bus = ""
	}
	kind := install.SSD
	switch {
	case d.GetBus() == inventoryv1.DiskBus_DISK_BUS_NVME:
		kind = install.NVMe
	case d.GetRotational():
		kind = install.HDD
	}
	return install.Disk{
		Name: d.GetName(), Type: kind, Model: strings.TrimSpace(d.GetVendor() + " " + d.GetModel()), Serial: d.GetSerial(), WWN: d.GetWwn(), Bus: bus,
		Path: d.GetPath(), SizeBytes: int64(d.GetSizeBytes()), SectorBytes: int(d.GetLogicalSectorBytes()), ReadOnly: d.GetReadOnly(),
	}
}

func planToProto(p install.Plan) *installv1.InstallPlan {
	d := p.Disk
	out := &installv1.InstallPlan{
		Disk: &installv1.Disk{
			Name: d.Name, SizeBytes: uint64(d.SizeBytes), Type: d.Type, Model: d.Model, Serial: d.Serial, Wwn: d.WWN, Bus: d.Bus, Path: d.Path,
		},
		Version: p.Release.Version, RootHash: p.Release.RootHash, GoesOnBehind: string(p.After),
	}
	for _, part := range p.Layout.Partitions {
		out.Partitions = append(out.Partitions, &installv1.Partition{Name: part.Name, StartBytes: uint64(part.Start), SizeBytes: uint64(part.Bytes)})
	}
	for _, t := range p.Tasks {
		out.Steps = append(out.Steps, &installv1.Step{Name: string(t.Step), What: t.What})
	}
	for _, f := range p.Destroys {
		out.Destroys = append(out.Destroys, f.String())
	}
	return out
}

func progressToProto(p install.Progress) *installv1.InstallResponse {
	return &installv1.InstallResponse{Part: &installv1.InstallResponse_Progress{Progress: &installv1.Progress{
		Step: string(p.Step), WrittenBytes: uint64(p.Bytes), TotalBytes: uint64(p.TotalBytes),
	}}}
}

// installClassed gives an error of an installation the class by which the API tells it on.
func installClassed(err error) error {
	switch {
	case errors.Is(err, install.ErrRequest):
		return fmt.Errorf("%w: %w", server.ErrInvalid, err)
	case errors.Is(err, install.ErrDisk), errors.Is(err, install.ErrData), errors.Is(err, install.ErrEncryption), errors.Is(err, install.ErrBusy):
		return fmt.Errorf("%w: %w", server.ErrPrecondition, err)
	}
	return classed(err)
}
