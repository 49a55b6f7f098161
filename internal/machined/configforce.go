package machined

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/plan"
)

// inForce returns what of the current revision holds in this boot: all of it, but for what needs a reboot to change, which is as in the revision
// that the boot began with.
func (c *configs) inForce() (*config.Config, error) {
	r := c.store.Record()
	current, err := c.read(r.Current)
	if err != nil || r.Base == r.Current || r.Base == 0 {
		return current, err
	}
	base, err := c.read(r.Base)
	if err != nil {
		return current, nil // it cannot be known, and the next boot has no use for it
	}
	return plan.InForce(base, current), nil
}

// read returns the configuration of a revision.
func (c *configs) read(n uint64) (*config.Config, error) {
	if cfg := c.parsed[n]; cfg != nil {
		return cfg, nil
	}
	r, err := c.store.Read(n)
	if err != nil {
		return nil, err
	}
	cfg, err := config.ParseSealed(fmt.Sprintf("revision %d", n), r.Document, c.open)
	if err != nil {
		return nil, err
	}
	c.remember(n, cfg)
	return cfg, nil
}

// remember keeps a configuration as long as the record names its revision.
func (c *configs) remember(n uint64, cfg *config.Config) {
	c.parsed[n] = cfg
	r := c.store.Record()
	for old := range c.parsed {
		if old != n && old != r.Current && old != r.Base && (r.Trying == nil || old != r.Trying.Back) {
			delete(c.parsed, old)
		}
	}
}

// enforce has the node go by the record. The loops see a new generation, where there is a difference; why is for the log.
func (a *Agent) enforce(why string) error {
	cfg, err := a.configs.inForce()
	if err != nil {
		return err
	}
	input, err := inputOf(cfg)
	if err != nil {
		return err
	}
	if r := a.configs.store.Record(); r.Trying != nil {
		// What it would go back to is to be at hand, whatever becomes of the disk.
		if _, err := a.configs.read(r.Trying.Back); err != nil {
			a.log.Error("read the configuration before the one that is tried", "error", err)
		}
		a.configs.changed.Wake()
	}
	if reflect.DeepEqual(a.snapshot().input.Config, cfg) {
		return nil
	}
	a.log.Info("configuration in force", "from", why)
	a.adopt(input, nil, true)
	return nil
}

// pending are the changes of the current revision that wait for a reboot.
func (c *configs) pending() []plan.Change {
	r := c.store.Record()
	if r.Base == r.Current || r.Base == 0 {
		return nil
	}
	base, err := c.read(r.Base)
	if err != nil {
		return nil
	}
	current, err := c.read(r.Current)
	if err != nil {
		return nil
	}
	return plan.With(plan.Reboot, plan.Compare(base, current))
}

// nextConfig is the configuration that the next boot goes by, as far as that is known: what is staged, or the current revision with all that waits for a
// reboot. It is nil where there is none.
func (a *Agent) nextConfig() (*config.Config, error) {
	c := &a.configs
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.store == nil {
		return a.snapshot().input.Config, nil
	}
	r := c.store.Record()
	n := r.Current
	if r.Staged != nil {
		n = r.Staged.Revision
	}
	if n == 0 {
		return a.snapshot().input.Config, nil
	}
	cfg, err := c.read(n)
	if err != nil {
		return nil, fmt.Errorf("read the configuration of the next boot: %w", err)
	}
	return cfg, nil
}

// lines joins changes for a person.
func lines(changes []plan.Change) string {
	var out []string
	for _, c := range changes {
		out = append(out, c.String())
	}
	return strings.Join(out, "; ")
}
