package plan

import (
	"fmt"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/snapshots"
)

// Replication is a job of the configuration, in the terms of the domain.
type Replication struct {
	Name string
	Job  replication.Job
	Peer config.Peer
	// Sends says that the source is on this node, Runs that this node does the work.
	Sends, Runs bool
	// When the job runs; zero where the peer runs it.
	When snapshots.Schedule
	// Top is the dataset below which the replicas lie.
	Top string
}

// Replications are what the documents of kind ReplicationJob ask for. An error means that config.Parse and the domain disagree.
func Replications(cfg *config.Config) ([]Replication, error) {
	if cfg == nil {
		return nil, nil
	}
	var out []Replication
	for _, d := range cfg.ReplicationJobs {
		r := Replication{
			Name: d.Name, Peer: d.Peer, Sends: d.Direction == config.DirectionPush, Runs: d.Run != config.RunPeer, When: times(d.Schedule), Top: d.Target,
			Job: replication.Job{
				ID: d.UUID, Direction: replication.Pull, Initial: replication.Initial(d.History), Encryption: replication.EncryptionOff,
				InitialGuarantee: replication.Guarantee(d.Guarantee.Initial), Guarantee: replication.Guarantee(d.Guarantee.Incremental),
				Stream: replication.Stream{Large: d.Compression != config.CompressionNone}, BytesPerSecond: d.BandwidthBytes,
				Checksum: d.Verify,
			},
		}
		if r.Sends == r.Runs { // who does the work has the source
			r.Job.Direction = replication.Push
		}
		for _, t := range d.Sources {
			r.Job.Roots = append(r.Job.Roots, replication.Root{Source: t.Name, Target: d.Target + "/" + t.Name})
			for _, e := range t.Exclude {
				r.Job.Filter = append(r.Job.Filter, replication.Rule{Path: e})
			}
		}
		if d.Prefix != "" {
			r.Job.Snapshots = []string{d.Prefix}
		}
		if err := r.Job.Check(); err != nil {
			return nil, fmt.Errorf("read ReplicationJob %s: %w", d.Name, err)
		}
		out = append(out, r)
	}
	return out, nil
}
