package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	datasetv1 "github.com/cyvive/cyvive/api/proto/dataset/v1"
	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	"github.com/cyvive/cyvive/hack/qemu/cluster"
	"github.com/cyvive/cyvive/hack/qemu/network"
	"github.com/cyvive/cyvive/internal/machined/config"
)

// replicated are two nodes with a cable, and a job from the first to the second.
type replicated struct {
	from, to *pooled
	random   *rand.Rand
	// files are those of the latest snapshot that was replicated, and next numbers those to come.
	files []writtenFile
	next  int
}

// TestReplication replicates a dataset from one node to another over a network that they have for themselves, with the certificates of their APIs; cuts that network
// and the power of either in the middle of it; and loses the first node for a while, on which the second takes its place, and gives it back.
func TestReplication(t *testing.T) {
	longOnly(t, "takes a quarter of an hour, with two nodes")
	e := requireImage(t)
	ctx := testContext(t, 90*time.Minute)
	o := e.options(t)
	o.Nodes, o.Cabled = 2, true
	o.CPUs = 1 // see smallOptions
	o.Empty = []cluster.EmptyDisk{{Serial: "one", SizeBytes: poolDiskBytes}}
	nodes := makePooled(t, ctx, e, o, addCable)
	startPooled(t, ctx, nodes)
	r := &replicated{from: nodes[0], to: nodes[1], random: rand.New(rand.NewPCG(5, 0))}
	for _, part := range []struct {
		name string
		run  func(*testing.T, context.Context, *replicated)
	}{
		{"first", testReplicateFirst}, {"refused", testReplicateRefused}, {"strangers", testReplicateStrangers}, {"network-cut", testReplicateNetworkCut},
		{"receiver-power-cut", testReplicateReceiverCut}, {"sender-power-cut", testReplicateSenderCut}, {"retention", testReplicateRetention},
		{"failover", testFailover}, {"failback", testFailback},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.run(t, testContext(t, 2*bootTimeout), r) }) {
			t.Fatalf("the parts behind %s are left out: each begins with what the one before leaves", part.name)
		}
	}
}

// addCable gives a node an address on the network of the two.
func addCable(index int, cfg *config.Config) {
	cfg.Network.Links = append(cfg.Network.Links, config.Link{
		Name: network.CableMAC(index), Addresses: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 5, 0, byte(index + 1)}), 24)},
	})
}

// job is how the job is on a node.
func (p *pooled) job(ctx context.Context) (*replicationv1.Job, error) {
	var list replicationv1.ListResponse
	if err := p.ask(ctx, &list, "replication", "status", "offsite"); err != nil {
		return nil, err
	}
	if len(list.GetJobs()) != 1 {
		return nil, fmt.Errorf("replication status has %d jobs", len(list.GetJobs()))
	}
	return list.GetJobs()[0], nil
}

// awaitJob waits until the job of a node fulfils a condition, and returns it.
func (p *pooled) awaitJob(t *testing.T, ctx context.Context, what string, fulfils func(*replicationv1.Job) bool) (job *replicationv1.Job) {
	t.Helper()
	eventually(t, ctx, what, func(ctx context.Context) (err error) {
		if job, err = p.job(ctx); err == nil && !fulfils(job) {
			err = fmt.Errorf("%s: %s; last %v", job.GetPhase(), job.GetReason(), job.GetLast())
		}
		return err
	})
	return job
}

// write writes so many files of a mebibyte to the source, which do not compress, and makes a snapshot.
func (r *replicated) write(t *testing.T, ctx context.Context, snapshot string, count int) {
	t.Helper()
	for range count {
		f := writtenFile{fileName(poolsDir, r.next), noise(r.random, 1<<20)}
		r.next++
		r.from.put(t, ctx, f.path, f.data)
		r.files = append(r.files, f)
	}
	r.from.do(t, ctx, "snapshot", "create", snapshot, sourceDataset)
}

// run has the job run to its end.
func (r *replicated) run(t *testing.T, ctx context.Context) {
	t.Helper()
	r.from.do(t, ctx, "replication", "run", "offsite")
}

// same wants the replica to have the snapshot last, with the same content, read-only and not mounted.
func (r *replicated) same(t *testing.T, ctx context.Context, snapshot string) {
	t.Helper()
	lines := strings.TrimSpace(r.from.do(t, ctx, "replication", "verify", "offsite", "--contents", "--output", "json"))
	var v replicationv1.VerifyResponse
	if err := protojson.Unmarshal([]byte(lines), &v); err != nil {
		t.Fatalf("read the comparison of one dataset, %q: %v", lines, err)
	}
	if v.GetProblem() != "" || v.GetSnapshot() != snapshot || v.GetContents() != replicationv1.Contents_CONTENTS_SAME || v.GetBehind() != 0 {
		t.Errorf("comparison: %v, want the same up to @%s, with contents", &v, snapshot)
	}
	d, err := r.to.dataset(ctx, replicaDataset)
	if err != nil {
		t.Fatal(err)
	}
	if d.GetMounted() || !d.GetReadOnly() {
		t.Errorf("the replica is %v, want it read-only and not mounted", d)
	}
	if mounts, err := r.to.probe.Read(ctx, "/proc/1/mounts"); err != nil || strings.Contains(mounts, replicaTarget) {
		t.Errorf("mounts of the node with the replica, %v:\n%s", err, mounts)
	}
}

// dataset is what a node says of a dataset.
func (p *pooled) dataset(ctx context.Context, name string) (*datasetv1.Dataset, error) {
	var list datasetv1.ListResponse
	if err := p.ask(ctx, &list, "dataset", "list", name); err != nil {
		return nil, err
	}
	for _, d := range list.GetDatasets() {
		if d.GetName() == name {
			return d, nil
		}
	}
	return nil, errors.New("dataset list does not have " + name)
}

// testReplicateFirst makes pools and jobs on both nodes, and replicates all, and then what is new.
func testReplicateFirst(t *testing.T, ctx context.Context, r *replicated) {
	r.from.apply(t, ctx, sourcePool)
	r.to.apply(t, ctx, replicaPool)
	r.from.awaitPool(t, ctx, "tank", "the pool of the source is made", well)
	r.to.awaitPool(t, ctx, "backup", "the pool of the replica is made", well)
	r.from.awaitMounted(t, ctx, sourceDataset, poolsDir)
	r.to.apply(t, ctx, receivingJob)
	r.write(t, ctx, "first", 2)
	r.from.apply(t, ctx, sendingJob)
	eventually(t, ctx, "the first run", func(ctx context.Context) error { // neither node need know of it at once
		_, err := r.from.tell(ctx, "", "replication", "run", "offsite")
		return err
	})
	r.same(t, ctx, "first")
	r.write(t, ctx, "second", 1)
	r.run(t, ctx)
	r.same(t, ctx, "second")
	r.to.awaitJob(t, ctx, "the node that receives says so", func(j *replicationv1.Job) bool {
		return j.GetPhase() == replicationv1.Phase_PHASE_PEER && j.GetHeardAt() != nil && roleOf(j) == replicationv1.Role_ROLE_REPLICA
	})
}

// roleOf is what a node has of the one dataset of the job.
func roleOf(j *replicationv1.Job) replicationv1.Role {
	if len(j.GetRoots()) != 1 {
		return replicationv1.Role_ROLE_UNSPECIFIED
	}
	return j.GetRoots()[0].GetRole()
}
