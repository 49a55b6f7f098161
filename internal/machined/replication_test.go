package machined

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	"github.com/cyvive/cyvive/internal/audit"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/peer"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/pki"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/snapshots"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
	"github.com/cyvive/cyvive/internal/storagetest"
)

const offsiteUUID = "2f5c7f0e-8f43-4f0a-9a3d-5b8a3b1c7e10"

// modelSums compares contents by what the model knows.
type modelSums struct{ *zfstest.Model }

// Sum implements endpoint.Summer.
func (s modelSums) Sum(ctx context.Context, name string) ([]byte, error) {
	text, err := s.Model.Sum(ctx, name)
	return []byte(text), err
}

// replicating is a node with the pool tank in memory, and an authority of its own.
type replicating struct {
	*node
	name      string
	model     *zfstest.Model
	faulty    *zfstest.Faulty
	authority *pki.Authority
	// ahead is how far the node's clock is.
	ahead atomic.Int64
}

func replicatingNode(t *testing.T, name string) *replicating {
	t.Helper()
	r := &replicating{name: name, model: zfstest.New(name, "tank")}
	r.faulty = &zfstest.Faulty{System: r.model}
	var err error
	if r.authority, err = pki.NewAuthority("authority of "+name, time.Now()); err != nil {
		t.Fatal(err)
	}
	pools := (&poolMachine{disks: []pool.Disk{blankDisk("/dev/vdb", "S-1"), blankDisk("/dev/vdc", "S-2")}}).config()
	pools.Datasets = r.faulty
	r.node = startNodeWith(t, t.TempDir(), storagetest.New(1<<30), func(c *Config) {
		c.Pools, c.Sums = pools, modelSums{r.model}
		c.Now = func() time.Time { return time.Now().Add(time.Duration(r.ahead.Load())) }
	})
	return r
}

// configure gives the node a configuration with a job, whose peer is another node.
func (r *replicating) configure(other *replicating, job config.ReplicationJob) {
	r.t.Helper()
	job.Name, job.UUID = "offsite", offsiteUUID
	job.Sources, job.Target = []config.DatasetTree{{Name: "tank/data", Recursive: true}}, "tank/in"
	job.Peer = config.Peer{Address: other.listener.Addr().String(), Identity: other.name, CA: string(other.authority.CertificatePEM())}
	r.source.set(r.document(job))
	r.awaitOther("a certificate of the configuration's authority, and the job", func() bool { return r.identity.Load().Clients != nil && len(r.namedPeers()) > 0 })
}

// document is the node's configuration, with jobs.
func (r *replicating) document(jobs ...config.ReplicationJob) []byte {
	r.t.Helper()
	data, err := config.Marshal(&config.Config{
		Machine: config.Machine{
			Hostname: r.name, CA: config.KeyPair{Certificate: string(r.authority.CertificatePEM()), Key: config.NewSecret(string(r.authority.KeyPEM()))},
			Upgrade: config.Upgrade{Deadline: 5 * time.Minute},
		},
		Pools: []config.Pool{{Name: "tank", Autotrim: true, Data: []config.DiskGroup{
			{Layout: config.LayoutMirror, Disks: []config.DiskSelector{{Serial: "S-1"}, {Serial: "S-2"}}},
		}}},
		ReplicationJobs: jobs,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return data
}

// snapshot writes something and takes a snapshot over the API.
func (r *replicating) snapshot(name string) {
	r.t.Helper()
	r.must(r.model.Write(r.t.Context(), "tank/data", "file-"+name, []byte(strings.Repeat(name, 200_000))))
	_, err := snapshotsAPI{r.Agent}.Create(r.t.Context(), []string{"tank/data"}, name, true)
	r.must(err)
}

func (r *replicating) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *replicating) job() *replicationv1.Job {
	r.t.Helper()
	jobs, err := replicationAPI{r.Agent}.List(r.t.Context(), "offsite")
	r.must(err)
	return jobs[0]
}

// run has the job run, and waits for its end.
func (r *replicating) run() *replicationv1.Job {
	r.t.Helper()
	run, err := replicationAPI{r.Agent}.Run(r.t.Context(), "offsite", nil)
	r.must(err)
	return r.ended(run)
}

func (r *replicating) ended(run uint64) *replicationv1.Job {
	r.t.Helper()
	r.awaitOther(fmt.Sprintf("the end of run %d", run), func() bool { return r.job().GetLast().GetRun() >= run })
	return r.job()
}

// same checks that both nodes have the same in a snapshot.
func same(t *testing.T, a, b *replicating, snapshot string) {
	t.Helper()
	mine, err := a.model.Sum(t.Context(), "tank/data@"+snapshot)
	a.must(err)
	theirs, err := b.model.Sum(t.Context(), "tank/in/tank/data@"+snapshot)
	b.must(err)
	if mine != theirs {
		t.Errorf("@%s: %s and %s", snapshot, mine, theirs)
	}
}

// TestTwoNodes: two agents with authorities of their own replicate over the API, go on after a cut, fail over and back.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	a, b, ctx := replicatingNode(t, "node-a"), replicatingNode(t, "node-b"), t.Context()
	a.must(a.model.Create(ctx, "tank/data", zfs.CreateOptions{}))
	b.configure(a, config.ReplicationJob{Direction: config.DirectionPull, Run: config.RunPeer})
	a.configure(b, config.ReplicationJob{Direction: config.DirectionPush, Run: config.RunHere})
	a.snapshot("1")
	if j := a.run(); !j.GetLast().GetSucceeded() {
		t.Fatalf("the first run: %v", j)
	}
	same(t, a, b, "1")
	if j := b.job(); j.GetPhase() != replicationv1.Phase_PHASE_PEER || j.GetHeardAt() == nil || j.GetRoots()[0].GetRole() != replicationv1.Role_ROLE_REPLICA {
		t.Errorf("on the node that receives: %v", j)
	}
	if _, err := (replicationAPI{b.Agent}).Run(ctx, "offsite", nil); !errors.Is(err, server.ErrPrecondition) {
		t.Errorf("run on the node that does not: %v", err)
	}

	a.snapshot("2")
	b.faulty.Order(zfstest.Fault{Method: "Receive", CutAt: 100_000, Err: zfs.ErrBusy})
	if j := a.run(); !j.GetLast().GetSucceeded() {
		t.Fatalf("a run that was cut: %v", j)
	}
	same(t, a, b, "2")
	checked := 0
	a.must(replicationAPI{a.Agent}.Verify(ctx, "offsite", true, func(v *replicationv1.VerifyResponse) error {
		if checked++; v.GetProblem() != "" || v.GetContents() != replicationv1.Contents_CONTENTS_SAME || v.GetSnapshot() != "2" {
			t.Errorf("verify: %v", v)
		}
		return nil
	}))
	if checked != 1 {
		t.Errorf("%d datasets were compared", checked)
	}
	if err := b.model.Write(ctx, "tank/in/tank/data", "x", nil); !errors.Is(err, zfs.ErrReadOnly) {
		t.Errorf("a write to the replica: %v", err)
	}

	a.snapshot("lost") // may be sent by itself, or not
	resp, err := replicationAPI{b.Agent}.Failover(ctx, "offsite", "tank/in", nil)
	if err != nil || !resp.GetTold() || resp.GetGeneration() != 1 {
		t.Fatalf("failover: %v, %v", resp, err)
	}
	b.must(b.model.Write(ctx, "tank/in/tank/data", "on-b", []byte("meanwhile")))
	if err := a.model.Write(ctx, "tank/data", "late", []byte("x")); !errors.Is(err, zfs.ErrReadOnly) {
		t.Errorf("a write to the old primary: %v", err)
	}
	if j := a.run(); j.GetPhase() != replicationv1.Phase_PHASE_FAILED_OVER || j.GetLast().GetSucceeded() {
		t.Errorf("the old primary's job: %v", j)
	}

	without := server.ConfigRequest{ConfigDocument: server.ConfigDocument{Document: string(b.document())}, Mode: server.ConfigAuto, DryRun: true}
	if _, err := (configsAPI{b.Agent}).ApplyConfig(ctx, without); !errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), "was failed over") {
		t.Errorf("the new primary without the job: %v", err)
	}
	run, err := replicationAPI{a.Agent}.Failback(ctx, "offsite", "tank/data", nil)
	a.must(err)
	j := a.ended(run)
	if !j.GetLast().GetSucceeded() { // what was not sent has to be given up by name
		var choices []*replicationv1.Choice
		for _, c := range j.GetConflicts() {
			i := slices.IndexFunc(c.GetOptions(), func(d *replicationv1.Decision) bool { return slices.Equal(d.GetDestroys(), []string{"@lost"}) })
			if i < 0 {
				t.Fatalf("conflict %v", c)
			}
			choices = append(choices, &replicationv1.Choice{Text: c.GetOptions()[i].GetText(), Confirm: "tank/data"})
		}
		run, err = replicationAPI{a.Agent}.Failback(ctx, "offsite", "tank/data", choices)
		a.must(err)
		j = a.ended(run)
	}
	if !j.GetLast().GetSucceeded() || j.GetRoots()[0].GetRole() != replicationv1.Role_ROLE_PRIMARY || j.GetRoots()[0].GetGeneration() != 2 {
		t.Fatalf("failback: %v", j)
	}
	mine, err := a.model.Sum(ctx, "tank/data")
	a.must(err)
	theirs, err := b.model.Sum(ctx, "tank/in/tank/data")
	a.must(err)
	if mine != theirs {
		t.Error("what was written meanwhile did not come back")
	}
	if err := b.model.Write(ctx, "tank/in/tank/data", "late", []byte("x")); !errors.Is(err, zfs.ErrReadOnly) {
		t.Errorf("a write to what was the primary meanwhile: %v", err)
	}
	a.snapshot("3")
	if j := a.run(); !j.GetLast().GetSucceeded() {
		t.Fatalf("after the failback: %v", j)
	}
	same(t, a, b, "3")
	peersAreAudited(t, b)
}

// TestScheduleBeginsJob: what a schedule makes is sent at once, and not at the job's next time.
func TestScheduleBeginsJob(t *testing.T) {
	t.Parallel()
	a, b, ctx := replicatingNode(t, "node-a"), replicatingNode(t, "node-b"), t.Context()
	a.must(a.model.Create(ctx, "tank/data", zfs.CreateOptions{}))
	a.model.Advance(time.Since(time.Unix(1_700_000_000, 0))) // to about now, by which the schedule goes
	a.must(a.model.Snapshot(ctx, []string{"tank/data@first"}, nil))
	b.configure(a, config.ReplicationJob{Direction: config.DirectionPull, Run: config.RunPeer})
	a.configure(b, config.ReplicationJob{Direction: config.DirectionPush, Run: config.RunHere, Schedule: config.Schedule{Every: 24 * time.Hour}})
	first := a.run().GetLast()
	if !first.GetSucceeded() {
		t.Fatalf("the first run: %v", first)
	}
	a.ahead.Store(int64(time.Minute)) // a job that snapshots begin pauses for less
	a.update(func(s *snapshot) {
		c := *s.input.Config
		c.SnapshotSchedules = []config.SnapshotSchedule{{
			Name: "yearly", Prefix: "yearly-", Datasets: []config.DatasetTree{{Name: "tank/data"}},
			Schedule: config.Schedule{Unit: config.Yearly, Day: 1, Month: time.January},
		}}
		s.input.Config = &c
	})
	a.awaitOther("the schedule's snapshot on the other node", func() bool {
		list, err := b.model.List(ctx, zfs.Query{Roots: []string{"tank/in/tank/data"}, Kinds: []zfs.Kind{zfs.Snapshot}})
		return err == nil && slices.ContainsFunc(list, func(d zfs.Dataset) bool { return strings.HasPrefix(d.Name, "tank/in/tank/data@yearly-") })
	})
	if j := a.ended(first.GetRun() + 1); !j.GetLast().GetSucceeded() {
		t.Errorf("the run for it: %v", j)
	}
}

func TestHaveNewer(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	of := func(name string, newest time.Time) snapshots.Status {
		return snapshots.Status{Policies: []snapshots.PolicyStatus{{Name: name, Newest: newest}}}
	}
	for what, c := range map[string]struct {
		before, after snapshots.Status
		want          bool
	}{
		"none":                 {snapshots.Status{}, of("a", time.Time{}), false},
		"the first":            {of("a", time.Time{}), of("a", at), true},
		"the same":             {of("a", at), of("a", at.UTC()), false},
		"another":              {of("a", at), of("a", at.Add(time.Second)), true},
		"clock went back":      {of("a", at), of("a", at.Add(-time.Hour)), true},
		"of another":           {of("a", at), of("b", at), true},
		"the schedule is gone": {of("a", at), snapshots.Status{}, false},
	} {
		if got := haveNewer(c.before, c.after); got != c.want {
			t.Errorf("%s: got %t", what, got)
		}
	}
}

// peersAreAudited looks for the other node's calls in the log.
func peersAreAudited(t *testing.T, n *replicating) {
	t.Helper()
	seen := map[string]bool{}
	n.must(n.audit.Read(t.Context(), func(line []byte) error {
		e, _, err := audit.ParseLine(line)
		if method, ok := strings.CutPrefix(e.Method, "/node.replication.v1.PeerService/"); ok {
			if seen[method] = true; e.Subject != "node-a" || e.Roles != string(server.RolePeer) {
				t.Errorf("entry %+v", e)
			}
		}
		return err
	}))
	for _, method := range []string{"Look", "Receive", "Complete", "Checksum", "Freeze", "Learn", "Send"} {
		if !seen[method] {
			t.Errorf("%s is not in the audit log: %v", method, seen)
		}
	}
}

// TestStrangersAreRefused: a node that no job names, and one that a job names for another one's authority.
func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	a, b, stranger := replicatingNode(t, "node-a"), replicatingNode(t, "node-b"), replicatingNode(t, "node-a")
	b.configure(a, config.ReplicationJob{Direction: config.DirectionPull, Run: config.RunPeer})
	stranger.configure(b, config.ReplicationJob{Direction: config.DirectionPush, Run: config.RunHere})
	j := stranger.run()
	if j.GetLast().GetSucceeded() || !strings.Contains(j.GetLast().GetProblem(), "not this node's authority") {
		t.Errorf("a node of another authority, which has the right name: %v", j)
	}
	if calls := b.faulty.Calls(); len(calls) > 0 {
		t.Errorf("calls: %v", calls)
	}
	// The certificate that a node shows is that of its API, and for both.
	leaf := b.identity.Load().Certificate.Leaf
	if !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) || !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) ||
		!slices.Equal(leaf.Subject.Organization, []string{"node:peer"}) {
		t.Errorf("certificate for %v, of %v", leaf.ExtKeyUsage, leaf.Subject.Organization)
	}
	conn, err := peer.Connect(peer.Target{
		Address: b.listener.Addr().String(), Identity: "node-b", Authority: b.authority.Pool(),
		Certificate: func() *tls.Certificate { return b.identity.Load().Certificate }, // node-b itself
	})
	b.must(err)
	defer conn.Close()
	_, err = peer.NewRemote(conn).List(t.Context(), replication.ListRequest{Job: offsiteUUID})
	if !errors.Is(err, peer.ErrRefused) || !strings.Contains(err.Error(), "names the node") {
		t.Errorf("a node of this authority that no job names: %v", err)
	}
}

// TestNoReplication: a node without OpenZFS replicates nothing.
func TestNoReplication(t *testing.T) {
	t.Parallel()
	n := startNode(t, t.TempDir(), storagetest.New(1<<30))
	api, ctx := replicationAPI{n.Agent}, t.Context()
	for name, err := range map[string]error{
		"list": second(api.List(ctx, "")), "run": second(api.Run(ctx, "x", nil)), "plan": second(api.Plan(ctx, "x")), "plan of a failover": second(api.PlanFailover(ctx, "x")),
		"failover": second(api.Failover(ctx, "x", "y", nil)), "failback": second(api.Failback(ctx, "x", "y", nil)), "verify": api.Verify(ctx, "x", false, nil),
	} {
		if !errors.Is(err, server.ErrPrecondition) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
