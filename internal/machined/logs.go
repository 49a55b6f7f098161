package machined

import (
	"context"
	"fmt"
	"slices"

	"github.com/cyvive/cyvive/internal/machined/server"
)

// keepLogs copies what services and the kernel write to the data volume, from when that and the boot ledger are there, and a last time when the agent ends: a teardown is
// over by then.
func (a *Agent) keepLogs(ctx context.Context) error {
	if a.cfg.Kept == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	for version, ready := uint64(0), false; !ready; {
		s, v, err := a.store.Watch(ctx, version)
		if err != nil {
			return err
		}
		version, ready = v, s.identity && s.storage.Status.DataMounted
	}
	said := ""
	tell := func(err error) {
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != "" && text != said {
			a.log.Warn("keep the logs of services", "error", text)
		}
		said = text
	}
	for {
		err := a.cfg.Kept.Begin(a.earlierBoots())
		if err == nil {
			err = a.cfg.Kept.Keep()
		}
		tell(err)
		if !sleep(ctx, a.cfg.Pace.KeepLogs) {
			break
		}
	}
	a.ending.mu.Lock()
	inOrder := a.ending.asked && !a.ending.atOnce
	a.ending.mu.Unlock()
	tell(a.cfg.Kept.End(inOrder))
	return ctx.Err()
}

// earlierBoots are the IDs of the boots before the running one that the ledger has, the newest first; that of one which left no entry is empty.
func (a *Agent) earlierBoots() []string {
	l := a.history.get()
	if l == nil {
		return nil
	}
	var out []string
	for _, b := range slices.Backward(l.Boots()) {
		if b.ID != a.cfg.Boot.ID {
			out = append(out, b.KernelID())
		}
	}
	return out
}

// pastLogsAPI implements server.PastLogs.
type pastLogsAPI struct{ a *Agent }

// kept is an error in an agent that keeps nothing.
func (v pastLogsAPI) kept() error {
	if v.a.cfg.Kept == nil {
		return fmt.Errorf("logs of the boot before: %w: this node keeps none", server.ErrNotFound)
	}
	return nil
}

// PastServices implements server.PastLogs.
func (v pastLogsAPI) PastServices(ctx context.Context) ([]string, error) {
	if err := v.kept(); err != nil {
		return nil, err
	}
	return v.a.cfg.Kept.PastServices(ctx)
}

// PastLog implements server.PastLogs.
func (v pastLogsAPI) PastLog(ctx context.Context, service string, tail int, lacks func(string), send func([]byte) error) error {
	if err := v.kept(); err != nil {
		return err
	}
	return v.a.cfg.Kept.PastLog(ctx, service, tail, lacks, send)
}
