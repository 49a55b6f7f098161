package machined

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/peer"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/replicate"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/pki"
	"github.com/cyvive/cyvive/internal/storage/replication"
)

// replicationTasks makes what runs the jobs, and what answers other nodes. A node without OpenZFS has neither.
func (a *Agent) replicationTasks() []task {
	if a.cfg.Pools == nil || a.cfg.Pools.Datasets == nil {
		return nil
	}
	a.jobs = replicate.New(replicate.Config{
		System: a.cfg.Pools.Datasets, Sums: a.cfg.Sums, Connect: a.connectPeer, Interrupt: func(id string) { a.guard.Interrupt(id) }, Stays: a.jobStays,
		Log: a.log.With("part", "replication"), Now: a.now, Runs: uint64(max(a.now().Unix(), 0)),
		Tell:    func(job, state, reason string) { a.events.Add(server.EventAgent, "replication "+job, state, reason) },
		Publish: func(all []replicate.Status) { a.update(func(s *snapshot) { s.replication = all }) },
	})
	a.guard = peer.NewGuard(a.loopsCtx, a.cfg.Pools.Datasets, a.cfg.Sums, a.jobs.Allowed, a.jobs.Heard)
	return []task{{"replication", a.replicate}}
}

// replicationCheck is the name of the health check of the jobs.
const replicationCheck = "replication"

// replicationHealth has a check where jobs are declared: what they wait for is on another node, or for a person, so that the node is ready without it, and no
// release is to blame for it.
func replicationHealth(s snapshot) []server.Check {
	if s.input.Config == nil || len(s.input.Config.ReplicationJobs) == 0 {
		return nil
	}
	var problems []string
	var again time.Time
	for _, j := range s.replication {
		if j.Problem != "" {
			problems = append(problems, "job "+j.Name+": "+j.Problem+sinceText(j.Since))
			again = sooner(again, j.Next)
		}
	}
	c := check(replicationCheck, len(problems) == 0, strings.Join(problems, "; "))
	if !s.pooled {
		c = check(replicationCheck, false, "replication jobs are declared, and "+s.noPools)
	}
	c.Aside, c.Again = true, again
	return []server.Check{c}
}

// replicate follows the configuration, and runs its jobs.
func (a *Agent) replicate(ctx context.Context) error {
	var others sync.WaitGroup
	defer others.Wait()
	others.Go(func() { _ = a.followJobs(ctx) }) // it ends with ctx
	others.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-a.snapshotted:
				a.jobs.Snapshots()
			}
		}
	})
	return a.jobs.Run(ctx)
}

// followJobs takes over the jobs of each new configuration.
func (a *Agent) followJobs(ctx context.Context) error {
	var known *config.Config
	return a.whenever(ctx, func(s snapshot) bool { return s.input.Config != known }, func(s snapshot) {
		known = s.input.Config
		jobs, err := plan.Replications(known)
		if err != nil {
			a.log.Error("take over the replication jobs", "error", err)
			return
		}
		peers := peersOf(jobs)
		a.peers.Store(&peers)
		a.jobs.Set(jobs)
	})
}

// peersOf are the nodes that jobs name. One that may be promoted asks in the other direction too, for the way back.
func peersOf(jobs []plan.Replication) []server.Peer {
	var out []server.Peer
	for _, j := range jobs {
		p := server.Peer{Job: j.Job.ID, Identity: j.Peer.Identity, Authority: peerAuthority(j.Peer)}
		out = append(out, p)
		if !j.Sends {
			p.Job = replication.ReverseID(j.Job.ID)
			out = append(out, p)
		}
	}
	return out
}

// peerAuthority is the authority of a peer that has another than this node, else nil. A certificate that config.Parse took can be read.
func peerAuthority(p config.Peer) *x509.CertPool {
	if p.CA == "" {
		return nil
	}
	pool := x509.NewCertPool()
	if cert, err := pki.ParseCertificate([]byte(p.CA)); err == nil {
		pool.AddCert(cert)
	}
	return pool
}

// namedPeers are the nodes that the jobs in force name. Those of a configuration that was found without the state volume are none (late.go): whoever has the machine
// may have put it there, and what jobs are about may open at any moment.
func (a *Agent) namedPeers() []server.Peer {
	if a.snapshot().came != inTime {
		return nil
	}
	if p := a.peers.Load(); p != nil {
		return *p
	}
	return nil
}

// connectPeer returns the other side of a job. It shows this node's certificate as that is with each connection. By what was found without the state volume no node is
// connected to, nor trusted.
func (a *Agent) connectPeer(j plan.Replication) (replication.Side, io.Closer, error) {
	if a.snapshot().came != inTime {
		return nil, nil, fmt.Errorf("connect to node %s: %w: its state volume has not been read", j.Peer.Address, replicate.ErrNotReady)
	}
	own := a.identityNow().Clients
	if own == nil {
		return nil, nil, fmt.Errorf("connect to node %s: %w: its API has no certificate of the configuration's authority", j.Peer.Address, replicate.ErrNotReady)
	}
	authority := peerAuthority(j.Peer)
	if authority == nil {
		authority = own
	}
	conn, err := peer.Connect(peer.Target{
		Address: j.Peer.Address, Identity: j.Peer.Identity, Authority: authority,
		Certificate: func() *tls.Certificate { return a.identity.Load().Certificate },
	})
	if err != nil {
		return nil, nil, err
	}
	return peer.NewRemote(conn), conn, nil
}

// snapshotsMade has jobs run that send what snapshots were made of.
func (a *Agent) snapshotsMade() {
	if a.jobs != nil {
		a.jobs.Snapshots()
	}
}
