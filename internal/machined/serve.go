package machined

import (
	"context"
	"time"

	"github.com/cyvive/cyvive/internal/machined/server"
)

// serve listens and answers, and tries again when the socket cannot be opened.
func (a *Agent) serve(ctx context.Context) error {
	var calls server.PeerCalls
	if a.guard != nil {
		calls = a.guard
	}
	s := server.New(server.Config{
		Identity: a.identityNow, Logger: a.log, Audit: a.cfg.Audit, Now: a.now,
		Machine: machineAPI{a}, Dmesg: a.cfg.Dmesg, Services: servicesAPI{a}, Logs: a.cfg.Logs, PastLogs: pastLogsAPI{a},
		Containers: containersAPI{a}, Boots: bootsAPI{a}, Kube: kubeAPI{a}, Kernel: a.cfg.Kernel, Events: a.events, Files: a.cfg.Files, Upgrades: upgradesAPI{a},
		Installs: installsAPI{a}, Resets: resetsAPI{a}, Configs: configsAPI{a}, Disks: disksAPI{a}, Extensions: extensionsAPI{a}, Pools: poolsAPI{a}, Datasets: datasetsAPI{a},
		Snapshots: snapshotsAPI{a}, Crashes: crashesAPI{a}, Inventory: a.cfg.Inventory,
		SBOM: a.cfg.SBOM, Recipient: a.recipient, Acted: a.acted, Changed: a.changed, Replication: replicationAPI{a}, Peers: a.namedPeers, PeerCalls: calls,
	})
	a.server.Store(s)
	a.serveMore(ctx, s)
	for {
		listener, err := a.cfg.Listen()
		if err == nil {
			a.log.Info("node API listens", "address", listener.Addr().String())
			a.update(func(s *snapshot) { s.listening, s.listeningSince = true, a.now() })
			return s.Serve(ctx, listener)
		}
		a.log.Error("open the API's socket", "error", err)
		if !sleep(ctx, time.Second) {
			return ctx.Err()
		}
	}
}

// serveMore answers on the other listener too, if there is one.
func (a *Agent) serveMore(ctx context.Context, s *server.Server) {
	if a.cfg.More == nil {
		return
	}
	listener, err := a.cfg.More()
	if err != nil {
		a.log.Info("the node API listens on its port alone", "reason", err)
		return
	}
	a.log.Info("node API listens", "address", listener.Addr().String())
	go func() {
		if err := s.Serve(ctx, listener); err != nil {
			a.log.Error("serve the node API", "address", listener.Addr().String(), "error", err)
		}
	}()
}
