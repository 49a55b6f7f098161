package machined

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/timesync"
)

// keepClock has time servers keep the node's clock.
func (a *Agent) keepClock(ctx context.Context) error {
	if a.cfg.Clock == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	query := a.cfg.AskTime
	if query == nil {
		query = timesync.SNTP
	}
	began := time.Now() // its monotonic reading, which nobody sets
	return timesync.Keep(ctx, timesync.Config{
		Log: a.log.With("part", "time"), Query: query, Clock: a.cfg.Clock, Since: func() time.Duration { return time.Since(began) },
		Now: a.now, Floor: a.cfg.Boot.BuiltAt,
		Servers: func() []string { return a.snapshot().timeServers() },
		Publish: func(status timesync.Status) { a.update(func(s *snapshot) { s.clock = status }) },
	})
}

// timeServers are those of the configuration or, where that names none, of DHCP: each once, however many links name it, since each has one vote, and as many
// as a configuration may have. There are none before there is an address to ask them from.
func (s snapshot) timeServers() []string {
	if len(s.network.Status.Addresses) == 0 {
		return nil
	}
	if s.input.Config != nil && len(s.input.Config.Machine.Time.Servers) > 0 {
		return s.input.Config.Machine.Time.Servers
	}
	var out []string
	for _, a := range s.network.Status.TimeServers {
		if server := a.String(); len(out) < config.MaxTimeServers && !slices.Contains(out, server) {
			out = append(out, server)
		}
	}
	return out
}

// clockTrust is when the clock counts as right though no time server has said so: those of many networks never answer.
const clockTrust = time.Hour

// clockDoubt says why the clock may be wrong by any time: it is the hardware's until a time server is heard, and there is one that may be. Empty if nothing speaks for it.
func (a *Agent) clockDoubt(uptime time.Duration) string {
	s := a.snapshot()
	switch {
	case a.cfg.Clock == nil || s.clock.Synchronised || uptime >= clockTrust:
		return ""
	case len(s.timeServers()) > 0:
		return cmp.Or(s.clock.Reason, "no time server was asked yet")
	case !s.network.Status.Ready: // DHCP may name some
		return "the network is not there yet, and may name time servers"
	}
	return ""
}

// timeCheck is the name of the health check of the clock.
const timeCheck = "time"

// timeHealth is about the clock of a node that has time servers. One that has none keeps the clock of its hardware, and no such check. Whether the node is ready
// depends on it only where a release does: who waits for a node would wait for dead servers of DHCP for ever.
func timeHealth(s snapshot) []server.Check {
	if len(s.clock.Servers) == 0 {
		return nil
	}
	c := check(timeCheck, s.clock.Synchronised, s.clock.Reason)
	c.Aside = !s.timeIsGate()
	return []server.Check{c}
}

// timeIsGate tells whether a release has to keep the clock in order to stay: where the configuration names the servers. Those that DHCP names are the
// network's, which may name dead ones for years; that they do not answer is no release's fault, and the one before may not have asked them at all.
func (s snapshot) timeIsGate() bool {
	return s.input.Config != nil && len(s.input.Config.Machine.Time.Servers) > 0
}
