package servertest

import (
	"context"
	"fmt"

	installv1 "github.com/cyvive/cyvive/api/proto/install/v1"
	"github.com/cyvive/cyvive/internal/machined/server"
)

// Installs are a node's Disks. A disk is meant by its serial number alone.
type Installs struct{ *Node }

var _ server.Installs = Installs{}

// PlanInstall implements server.Installs.
func (n Installs) PlanInstall(_ context.Context, t *installv1.Target, by string) (*installv1.InstallPlan, error) {
	if err := n.called(fmt.Sprintf("plan install, %s", describe(t, by))); err != nil {
		return nil, err
	}
	return n.plan(t)
}

func describe(t *installv1.Target, by string) string {
	text := fmt.Sprintf("disk %q, wipe %q, pushed %t, by %s", t.GetDisk().GetSerial(), t.GetWipe(), t.GetPushed(), by)
	if c := t.GetConfiguration(); len(c) > 0 {
		text += fmt.Sprintf(", configuration of %d bytes", len(c))
	}
	return text
}

func (n Installs) plan(t *installv1.Target) (*installv1.InstallPlan, error) {
	if t.GetDisk() == nil {
		return nil, fmt.Errorf("%w: nothing says which disk is meant", server.ErrInvalid)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, d := range n.Targets {
		if d.GetSerial() != t.GetDisk().GetSerial() {
			continue
		}
		p := &installv1.InstallPlan{
			Disk: d, Version: "1.2.3", RootHash: "ab",
			Partitions: []*installv1.Partition{{Name: "esp", StartBytes: 1 << 20, SizeBytes: 512 << 20}, {Name: "data", StartBytes: 2 << 30, SizeBytes: 6 << 30}},
			Steps:      []*installv1.Step{{Name: "root", What: "copy the root"}, {Name: "complete", What: "note that all is done"}},
		}
		if data := n.DiskData[d.GetSerial()]; data != "" {
			p.Destroys = []string{data}
			if t.GetWipe() != d.GetSerial() {
				return nil, fmt.Errorf("%w: the disk holds data: %s", server.ErrPrecondition, data)
			}
		}
		return p, nil
	}
	return nil, fmt.Errorf("%w: no disk matches serial=%s", server.ErrPrecondition, t.GetDisk().GetSerial())
}

// RunInstall implements server.Installs.
func (n Installs) RunInstall(_ context.Context, t *installv1.Target, by string, send func(*installv1.InstallResponse) error) error {
	if err := n.called(fmt.Sprintf("install, %s", describe(t, by))); err != nil {
		return err
	}
	p, err := n.plan(t)
	if err != nil {
		return err
	}
	if err := send(&installv1.InstallResponse{Part: &installv1.InstallResponse_Plan{Plan: p}}); err != nil {
		return err
	}
	const total = 300 << 20
	for i, step := range []string{"root", "root", "esp"} {
		if err := send(at(step, uint64(i)*total/3, total)); err != nil {
			return err
		}
	}
	if n.DiskFault != nil {
		return n.DiskFault
	}
	return send(at("complete", total, total))
}

func at(step string, written, total uint64) *installv1.InstallResponse {
	return &installv1.InstallResponse{Part: &installv1.InstallResponse_Progress{Progress: &installv1.Progress{Step: step, WrittenBytes: written, TotalBytes: total}}}
}

// Resets is what a node does to forget.
type Resets struct{ *Node }

var _ server.Resets = Resets{}

// Reset implements server.Resets.
func (n Resets) Reset(_ context.Context, o server.ResetOrder, tell func(server.ResetStage, string) error) error {
	if err := n.called(fmt.Sprintf("reset %+v", o)); err != nil {
		return err
	}
	if name := n.NodeValue.Hostname; o.Confirm != name {
		return fmt.Errorf("%w: the confirmation is %q, and this node is named %q", server.ErrInvalid, o.Confirm, name)
	}
	if !o.Forced {
		if err := tell(server.ResetLeaving, "the node leaves its cluster"); err != nil {
			return err
		}
		if n.ResetFault != nil {
			return fmt.Errorf("%w: %w; nothing was wiped", server.ErrPrecondition, n.ResetFault)
		}
	}
	if err := tell(server.ResetArmed, "at the next start: wipe"); err != nil {
		return err
	}
	if o.PowerOff {
		return n.power("shutdown")
	}
	return n.power("reboot")
}
