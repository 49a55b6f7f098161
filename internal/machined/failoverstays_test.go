package machined

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// TestFailoverOfAJobThatGoes: a job is not failed over while what is staged, or what a trial goes back to, does not have it: nobody would ask by then whether it was
// promoted.
func TestFailoverOfAJobThatGoes(t *testing.T) {
	t.Parallel()
	a, b, ctx := replicatingNode(t, "node-a"), replicatingNode(t, "node-b"), t.Context()
	a.must(a.model.Create(ctx, "tank/data", zfs.CreateOptions{}))
	b.configure(a, config.ReplicationJob{Direction: config.DirectionPull, Run: config.RunPeer})
	a.configure(b, config.ReplicationJob{Direction: config.DirectionPush, Run: config.RunHere})
	a.snapshot("1")
	if j := a.run(); !j.GetLast().GetSucceeded() {
		t.Fatalf("the first run: %v", j)
	}
	api, configs := replicationAPI{b.Agent}, configsAPI{b.Agent}
	whole, err := config.Marshal(b.Agent.snapshot().input.Config)
	b.must(err)
	apply := func(mode server.ConfigMode, documents []byte) {
		t.Helper()
		_, err := configs.ApplyConfig(ctx, server.ConfigRequest{ConfigDocument: server.ConfigDocument{Document: string(documents)}, Mode: mode, By: "somebody"})
		b.must(err)
	}
	refused := func(words string) {
		t.Helper()
		for what, err := range map[string]error{
			"the plan of a failover": second(api.PlanFailover(ctx, "offsite")), "a failover": second(api.Failover(ctx, "offsite", "tank/in", nil)),
		} {
			if !errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), words) || !strings.Contains(err.Error(), "tank/in/tank/data any more") {
				t.Errorf("%s: got %v, want words of %q", what, err, words)
			}
		}
		if err := b.model.Write(ctx, "tank/in/tank/data", "x", nil); !errors.Is(err, zfs.ErrReadOnly) {
			t.Errorf("a write to the replica: %v", err)
		}
	}

	apply(server.ConfigStaged, b.document())
	refused("which is staged")
	apply(server.ConfigAuto, whole) // gives that up
	_, err = api.PlanFailover(ctx, "offsite")
	b.must(err)

	apply(server.ConfigAuto, b.document())
	b.awaitOther("the job to be gone", func() bool { return errors.Is(second(api.List(ctx, "offsite")), server.ErrNotFound) })
	apply(server.ConfigTry, whole)
	b.awaitOther("the job to be there", func() bool { return second(api.List(ctx, "offsite")) == nil })
	refused("which is tried")
	_, err = configs.ConfirmConfig(ctx, "somebody", 0)
	b.must(err)
	resp, err := api.Failover(ctx, "offsite", "tank/in", nil)
	if err != nil || resp.GetGeneration() != 1 {
		t.Fatalf("failover: %v, %v", resp, err)
	}
	for _, mode := range []server.ConfigMode{server.ConfigAuto, server.ConfigNoReboot, server.ConfigStaged, server.ConfigTry} {
		r := server.ConfigRequest{ConfigDocument: server.ConfigDocument{Document: string(b.document())}, Mode: mode, DryRun: true}
		if mode == server.ConfigTry {
			r.TryTimeout = time.Minute
		}
		if _, err := configs.ApplyConfig(ctx, r); !errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), "was failed over") {
			t.Errorf("mode %d: the new primary without the job: %v", mode, err)
		}
	}
}
