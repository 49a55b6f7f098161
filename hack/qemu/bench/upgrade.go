package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	upgradev1 "github.com/cyvive/cyvive/api/proto/upgrade/v1"
	"github.com/cyvive/cyvive/hack/qemu/cluster"
	"github.com/cyvive/cyvive/hack/release/variant"
	"github.com/cyvive/cyvive/internal/machined/config"
)

// Upgrade is a good release that a node is taken to, of the image's size.
type Upgrade struct {
	// Reboot is an ordinary one of the same node.
	Reboot Outage `json:"reboot"`
	Outage
	// ReleaseBytes is what is pushed.
	ReleaseBytes int64 `json:"releaseBytes"`
	// WriteSeconds are from the call to the restart: push, check and writing of the slot.
	WriteSeconds float64 `json:"writeSeconds"`
	// BlessedSeconds are from the restart to the end of the trial, of which the gates have to hold for half a minute.
	BlessedSeconds float64 `json:"blessedSeconds"`
	// WrittenBytes is what the node wrote to its disk from the call to the end of the trial, by QEMU's counters.
	WrittenBytes int64 `json:"writtenBytes"`
}

// Rollback is a release that is no good, from which a node comes back by itself.
type Rollback struct {
	// Name is what is wrong with it.
	Name string `json:"name"`
	// Note is what tells the node or the release from the others; empty for a node without a cluster.
	Note string `json:"note,omitempty"`
	// Reboot is an ordinary one of the same node.
	Reboot Outage `json:"reboot"`
	// Outage is from the restart into the release, or the last answer before, to the first answer of the old one.
	Outage
	// DeadlineSeconds are in it where the release goes back by itself when its deadline has come; 0 is none.
	DeadlineSeconds float64 `json:"deadlineSeconds,omitempty"`
}

// releases makes releases in a folder of its own.
func (o Options) releases(name string) (*variant.Builder, error) {
	dir, err := os.MkdirTemp(o.Cluster.Home, name+"-")
	if err != nil {
		return nil, err
	}
	return variant.New(o.Root, o.Cluster.Arch, dir)
}

func (o Options) upgrade(ctx context.Context) (_ *Upgrade, err error) {
	b, err := o.releases("upgrade")
	if err != nil {
		return nil, err
	}
	o.say("upgrade: build a release")
	file, m, err := b.Make(ctx, "good", variant.GoodVersion)
	if err != nil {
		return nil, err
	}
	t, err := o.aloneNode(ctx, "bench-upgrade")
	if err != nil {
		return nil, err
	}
	defer t.close(ctx)
	u := &Upgrade{ReleaseBytes: m.PartsBytes()}
	if u.Reboot, err = t.reboot(ctx); err != nil {
		return nil, err
	}
	o.say("upgrade: reboot: service after %.1f s, silent for %.1f s", u.Reboot.ServiceSeconds, u.Reboot.DowntimeSeconds)
	machine, err := t.machine()
	if err != nil {
		return nil, err
	}
	_, before, err := diskBytes(ctx, machine)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	p, err := t.through(ctx, t.order("upgrade", "--image", file, "--wait=false"), runs(m.Version))
	if err != nil {
		return nil, fmt.Errorf("measure an upgrade: %w", err)
	}
	u.Outage, u.WriteSeconds = p.outage(), p.restarted.Sub(began).Seconds()
	blessed, err := t.blessed(ctx, m.RootHash)
	if err != nil {
		return nil, fmt.Errorf("measure an upgrade: %w", err)
	}
	u.BlessedSeconds = blessed.Sub(p.restarted).Seconds()
	_, after, err := diskBytes(ctx, machine)
	u.WrittenBytes = after - before
	o.say("upgrade: restart after %.1f s, service %.1f s, blessed %.1f s after that", u.WriteSeconds, u.ServiceSeconds, u.BlessedSeconds)
	return u, err
}

// runs is arrived for a trip that leads to a version.
func runs(version string) func([]*machinev1.Boot) error {
	return func(boots []*machinev1.Boot) error {
		if got := boots[0].GetVersion(); got != version {
			return fmt.Errorf("version %s runs, want %s", got, version)
		}
		return nil
	}
}

// blessed waits until the release of a root hash stays.
func (t *traveller) blessed(ctx context.Context, rootHash string) (time.Time, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, tripTimeout, fmt.Errorf("the release has not proven itself in %s", tripTimeout))
	defer cancel()
	conn, err := t.api.dial()
	if err != nil {
		return time.Time{}, err
	}
	defer conn.Close()
	var failed error
	at, err := await(ctx, "the end of the trial", func(ctx context.Context) error {
		s, err := upgradev1.NewUpgradeServiceClient(conn).Status(ctx, &upgradev1.StatusRequest{})
		if err != nil {
			return err
		}
		failed = nil
		switch last := s.GetLast(); {
		case s.GetStage() != upgradev1.Stage_STAGE_IDLE:
			return fmt.Errorf("stage %s: %s", s.GetStage(), s.GetReason())
		case last.GetTarget().GetRootHash() != rootHash || !last.GetSucceeded():
			failed = fmt.Errorf("the release did not stay: %s", last.GetReason())
		}
		return nil
	})
	return at, errors.Join(err, failed)
}

// rollbacks measures all releases that are no good, each once.
func (o Options) rollbacks(ctx context.Context) (all []Rollback, err error) {
	b, err := o.releases("rollback")
	if err != nil {
		return nil, err
	}
	t, err := o.aloneNode(ctx, "bench-rollback")
	if err != nil {
		return nil, err
	}
	all, err = o.rollbacksOf(ctx, t, b, variant.AloneBad(), variant.Light()...)
	t.close(ctx)
	if err != nil {
		return all, err
	}
	// What a full disk is felt by is etcd, so this node has a cluster; and its disk is small, since all of it is written. What fills it is in etcd's place, so the
	// release would be taken back with room left, too: it is the way back from a full disk that is measured, and not what is noticed first.
	small := func(c *cluster.Options) { c.DiskBytes = fullDiskBytes }
	t, err = o.traveller(ctx, "bench-full", small, func(cfg *config.Config) { cfg.Machine.Upgrade.Deadline = trialDeadline })
	if err != nil {
		return all, err
	}
	defer t.close(ctx)
	more, err := o.rollbacksOf(ctx, t, b, []variant.Bad{variant.FullDisk()})
	for i := range more {
		more[i].Note = fmt.Sprintf("of a cluster, %d GiB of disk filled in the place of etcd", fullDiskBytes>>30)
	}
	return append(all, more...), err
}

func (o Options) rollbacksOf(ctx context.Context, t *traveller, b *variant.Builder, bad []variant.Bad, flags ...string) (all []Rollback, err error) {
	reboot, err := t.reboot(ctx)
	if err != nil {
		return nil, err
	}
	for _, release := range bad {
		r, err := o.rollback(ctx, t, b, release, flags...)
		if err != nil {
			return all, fmt.Errorf("measure a rollback, %s: %w", release.Name, err)
		}
		r.Reboot = reboot
		all = append(all, r)
	}
	return all, nil
}

// rollback takes a node to a release, and waits until it is back with the right reason.
func (o Options) rollback(ctx context.Context, t *traveller, b *variant.Builder, bad variant.Bad, flags ...string) (Rollback, error) {
	r := Rollback{Name: bad.Name}
	if bad.Decides {
		r.DeadlineSeconds = trialDeadline.Seconds()
	}
	o.say("rollback, %s: build the release", bad.Name)
	file, err := bad.Make(ctx, b, flags...)
	if err != nil {
		return r, err
	}
	defer os.Remove(file)
	pushing, cancel := context.WithTimeoutCause(ctx, pushTimeout, fmt.Errorf("the release is not written after %s", pushTimeout))
	defer cancel()
	// What does not hold now is not asked of the release, and the build may have kept the node from its work.
	if err := t.AwaitHealthy(pushing); err != nil {
		return r, err
	}
	if err := t.order("upgrade", "--image", file, "--stage")(pushing); err != nil {
		return r, err
	}
	before, err := t.api.running(ctx)
	if err != nil {
		return r, err
	}
	p, err := t.through(ctx, t.order("reboot"), runs(t.version))
	if err != nil {
		return r, err
	}
	r.Outage = p.outage()
	o.say("rollback, %s: service after %.1f s", bad.Name, r.ServiceSeconds)
	// The reason may be written a moment later than the first answer.
	waiting, stop := context.WithTimeoutCause(ctx, healthyTimeout, fmt.Errorf("the node does not say so %s later", healthyTimeout))
	defer stop()
	if _, err := await(waiting, "the reason in the boots", func(ctx context.Context) error {
		boots, err := t.api.boots(ctx)
		if err != nil {
			return err
		}
		return bad.Explained(boots, before.GetBootId(), t.version)
	}); err != nil {
		return r, err
	}
	return r, t.AwaitHealthy(waiting)
}
