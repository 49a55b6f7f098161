package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	"github.com/cyvive/cyvive/hack/qemu/cluster"
	"github.com/cyvive/cyvive/hack/qemu/vm"
	"github.com/cyvive/cyvive/internal/machined/config"
)

// Life are the figures of a node's life: of getting another release, of getting rid of one that is no good, of where its root is, and of its pools. They are
// of nodes that start from firmware, as machines do, but for the last three, each group on a node of its own, and the last in a machine of the test runner.
type Life struct {
	Upgrade     *Upgrade     `json:"upgrade,omitempty"`
	Rollbacks   []Rollback   `json:"rollbacks,omitempty"`
	Memory      *RootMemory  `json:"memory,omitempty"`
	Pools       *Pools       `json:"pools,omitempty"`
	Replication *Replication `json:"replication,omitempty"`
}

// Outage is the time in which a node did not answer on its API because it started again.
type Outage struct {
	// ServiceSeconds are from the kernel's restart to the first answer, DowntimeSeconds from the last answer before.
	ServiceSeconds  float64 `json:"serviceSeconds"`
	DowntimeSeconds float64 `json:"downtimeSeconds"`
}

// trialDeadline is that of releases on trial (upgrade.deadline of the Machine document): ones that are good need less, and no time is measured that is
// only waited. What a release that decides about itself takes to go back has this in it.
const trialDeadline = 2 * time.Minute

const (
	// lifeMemoryBytes is the memory of a node without a cluster, fullDiskBytes the disk of the one that becomes full.
	lifeMemoryBytes = 1 << 30
	fullDiskBytes   = 6 << 30
	// healthyTimeout is for a node to come up, pushTimeout for it to take and write a release, tripTimeout for it to be back after it restarts, however
	// often that is.
	healthyTimeout = 15 * time.Minute
	pushTimeout    = 15 * time.Minute
	tripTimeout    = 20 * time.Minute
)

// traveller is a node that is taken from one release to another.
type traveller struct {
	*cluster.Cluster
	api *nodeAPI
	// version is that of the image.
	version string
}

// traveller makes and starts a node of a name, and waits until it is in order.
func (o Options) traveller(ctx context.Context, name string, set func(*cluster.Options), change func(*config.Config)) (*traveller, error) {
	c := o.Cluster
	c.Name, c.Dir, c.Home = name, filepath.Join(filepath.Dir(o.Cluster.Dir), name), filepath.Join(o.Cluster.Home, "home-"+name)
	c.Probe, c.APIPort, c.KubernetesPort = "", 0, 0
	if set != nil {
		set(&c)
	}
	if err := os.Mkdir(c.Home, 0o700); err != nil {
		return nil, err
	}
	made, err := cluster.Create(ctx, c)
	if err != nil {
		return nil, err
	}
	t := &traveller{Cluster: made}
	if err := made.Reconfigure(made.Nodes()[0], change); err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeoutCause(ctx, healthyTimeout, fmt.Errorf("%s is not in order %s after its start", name, healthyTimeout))
	defer cancel()
	for _, step := range []func(context.Context) error{made.Merge, made.Start, made.AwaitHealthy} {
		if err := step(limited); err != nil {
			return nil, errors.Join(err, made.Stop(context.WithoutCancel(ctx)))
		}
	}
	if t.api, err = newNodeAPI(made.ContextPath()); err == nil {
		var now *machinev1.Boot
		if now, err = t.api.running(ctx); err == nil {
			t.version = now.GetVersion()
		}
	}
	if err != nil {
		return nil, errors.Join(err, made.Stop(context.WithoutCancel(ctx)))
	}
	return t, nil
}

// aloneNode is a traveller without a cluster.
func (o Options) aloneNode(ctx context.Context, name string) (*traveller, error) {
	return o.traveller(ctx, name, func(c *cluster.Options) { c.MemoryBytes = lifeMemoryBytes }, func(cfg *config.Config) {
		cfg.Cluster = nil
		cfg.Machine.Upgrade.Deadline = trialDeadline
	})
}

func (t *traveller) machine() (*vm.VM, error) { return t.Machine(t.Nodes()[0]) }

// close ends the machine.
func (t *traveller) close(ctx context.Context) { _ = t.Stop(context.WithoutCancel(ctx)) }

// boots are those of the ledger, the running one first.
func (n *nodeAPI) boots(ctx context.Context) ([]*machinev1.Boot, error) {
	conn, err := n.dial()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	resp, err := machinev1.NewMachineServiceClient(conn).ListBoots(ctx, &machinev1.ListBootsRequest{})
	if err != nil {
		return nil, err
	}
	if len(resp.GetBoots()) == 0 {
		return nil, errors.New("the ledger of boots is empty")
	}
	return resp.GetBoots(), nil
}

func (n *nodeAPI) running(ctx context.Context) (*machinev1.Boot, error) {
	boots, err := n.boots(ctx)
	if err != nil {
		return nil, err
	}
	return boots[0], nil
}

// trip is a way through a restart, as it looks from outside.
type trip struct {
	// restarted is when the kernel of the boot before said so, last when that boot answered last, served when it was over.
	restarted, last, served time.Time
}

func (p trip) outage() Outage {
	return Outage{ServiceSeconds: p.served.Sub(p.restarted).Seconds(), DowntimeSeconds: p.served.Sub(p.last).Seconds()}
}

// restartLine is what every kernel says when it restarts the machine in order (kernel/reboot.c).
var restartLine = regexp.MustCompile(`reboot: Restarting system`)

// answerTimeout bounds one question: a machine that is down does not refuse it, since QEMU takes it.
const answerTimeout = 3 * time.Second

// through has a node start again and asks it all the time, until a boot after the one before answers that is where the trip is to lead.
func (t *traveller) through(ctx context.Context, leave func(context.Context) error, arrived func([]*machinev1.Boot) error) (trip, error) {
	m, err := t.machine()
	if err != nil {
		return trip{}, err
	}
	before, err := t.api.running(ctx)
	if err != nil {
		return trip{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, tripTimeout, fmt.Errorf("the node is not where it is to be %s after its restart", tripTimeout))
	defer cancel()
	said, at := make(chan error, 1), time.Time{}
	console := m.Console()
	go func() {
		_, err := console.WaitLine(ctx, restartLine)
		at = time.Now()
		said <- err
	}()
	if err := leave(ctx); err != nil {
		return trip{}, err
	}
	last, served, err := watchTrip(ctx, t.api.boots, before.GetBootId(), arrived)
	if err == nil {
		err = <-said
	}
	if err != nil {
		return trip{}, err
	}
	return trip{restarted: at, last: last, served: served}, nil
}

// watchTrip asks for boots until another one than before fulfils the condition. It returns when before answered last, and when the condition was
// fulfilled.
func watchTrip(
	ctx context.Context, ask func(context.Context) ([]*machinev1.Boot, error), before string, arrived func([]*machinev1.Boot) error,
) (last, served time.Time, err error) {
	last = time.Now()
	served, err = await(ctx, "another boot", func(ctx context.Context) error {
		limited, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		boots, err := ask(limited)
		switch {
		case err != nil:
			return err
		case boots[0].GetBootId() == before:
			last = time.Now()
			return fmt.Errorf("boot %s still runs", before)
		}
		return arrived(boots)
	})
	return last, served, err
}

// anyBoot is arrived for a trip that leads back to the same release.
func anyBoot([]*machinev1.Boot) error { return nil }

// reboot measures an ordinary reboot, which the other figures are compared with.
func (t *traveller) reboot(ctx context.Context) (Outage, error) {
	p, err := t.through(ctx, t.order("reboot"), anyBoot)
	if err != nil {
		return Outage{}, fmt.Errorf("measure a reboot: %w", err)
	}
	return p.outage(), t.AwaitHealthy(ctx)
}

// order gives the node an order by nodectl.
func (t *traveller) order(args ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := t.Tools().Nodectl(ctx, args...)
		return err
	}
}
