package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	snapshotv1 "github.com/cyvive/cyvive/api/proto/snapshot/v1"
)

// cutFiles is how many files of a mebibyte a step sends that is cut. At the limit of the job that takes 48 s.
const cutFiles = 24

// cutAt is the run that is cut, and how much of it was sent when it was looked at last.
type cutAt struct{ run, sent uint64 }

// halfway begins a run that sends a new snapshot, and waits until half of that is over.
func (r *replicated) halfway(t *testing.T, ctx context.Context, snapshot string) cutAt {
	t.Helper()
	r.write(t, ctx, snapshot, cutFiles)
	r.from.do(t, ctx, "replication", "run", "offsite", "--no-wait")
	job := r.from.awaitJob(t, ctx, "half of it is sent", func(j *replicationv1.Job) bool { return j.GetProgress().GetSentBytes() >= cutFiles<<20/2 })
	at := cutAt{job.GetProgress().GetRun(), job.GetProgress().GetSentBytes()}
	if expected := job.GetProgress().GetExpectedBytes(); at.sent >= expected {
		t.Fatalf("%d of %d bytes are sent already: there is nothing to cut", at.sent, expected)
	}
	return at
}

// resumed waits until the run that was cut, or a later one, has gone well, and wants it to have gone on with what was there: what the receiving node had not synced,
// which is what came in some seconds, may come again, as may what was on its way, and not all of it. Where the other node is back soon, it is the same run that goes on.
func (r *replicated) resumed(t *testing.T, ctx context.Context, snapshot string, at cutAt) {
	t.Helper()
	job := r.from.awaitJob(t, ctx, "a run goes on with it", func(j *replicationv1.Job) bool { return j.GetLast().GetRun() >= at.run && j.GetLast().GetSucceeded() })
	got, most := job.GetLast().GetSentBytes(), uint64(cutFiles<<20)-at.sent/8
	if job.GetLast().GetRun() == at.run {
		got -= at.sent
	}
	t.Logf("%d bytes were sent before the cut, and %d behind it", at.sent, got)
	if got == 0 || got > most {
		t.Errorf("after a cut at %d bytes, %d were sent, want %d at most: it began anew", at.sent, got, most)
	}
	r.same(t, ctx, snapshot)
	r.noHolds(t, ctx, snapshot)
}

// noHolds wants no hold of a step to be left on either node: those are for what goes on.
func (r *replicated) noHolds(t *testing.T, ctx context.Context, snapshot string) {
	t.Helper()
	for p, dataset := range map[*pooled]string{r.from: sourceDataset, r.to: replicaDataset} {
		var list snapshotv1.ListResponse
		if err := p.ask(ctx, &list, "snapshot", "list", dataset); err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(list.GetSnapshots(), func(s *snapshotv1.Snapshot) bool { return s.GetName() == dataset+"@"+snapshot }) {
			t.Errorf("%s has no snapshot %s", p.node.Name, snapshot)
		}
		for _, s := range list.GetSnapshots() {
			if slices.ContainsFunc(s.GetHolds(), func(tag string) bool { return strings.HasPrefix(tag, "cyvive_step_") }) {
				t.Errorf("%s is held by %q", s.GetName(), s.GetHolds())
			}
		}
	}
}

// testReplicateNetworkCut cuts the network of the two: neither is told, so the run has to find out by itself.
func testReplicateNetworkCut(t *testing.T, ctx context.Context, r *replicated) {
	at := r.halfway(t, ctx, "network")
	if err := r.from.Cable(ctx, false); err != nil {
		t.Fatal(err)
	}
	job := r.from.awaitJob(t, ctx, "the run has ended", func(j *replicationv1.Job) bool { return j.GetLast().GetRun() >= at.run })
	if job.GetLast().GetSucceeded() || job.GetLast().GetProblem() == "" {
		t.Fatalf("the run that was cut: %v", job.GetLast())
	}
	t.Logf("it says %s", job.GetLast().GetProblem())
	if err := r.from.Cable(ctx, true); err != nil {
		t.Fatal(err)
	}
	r.resumed(t, ctx, "network", at)
}

// testReplicateReceiverCut cuts the power of the node that receives.
func testReplicateReceiverCut(t *testing.T, ctx context.Context, r *replicated) {
	at := r.halfway(t, ctx, "receiver")
	r.to.powerOff(t, ctx)
	job, err := r.from.job(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if last := job.GetLast(); last.GetRun() >= at.run && last.GetSucceeded() {
		t.Fatalf("the run has ended before the cut: %v", last)
	}
	r.to.powerOn(t, ctx)
	r.to.awaitPool(t, ctx, "backup", "the pool is imported", well)
	r.resumed(t, ctx, "receiver", at)
}

// testReplicateSenderCut cuts the power of the node that sends and does the work: its next boot goes on with it by itself.
func testReplicateSenderCut(t *testing.T, ctx context.Context, r *replicated) {
	at := r.halfway(t, ctx, "sender")
	r.from.powerOff(t, ctx)
	r.from.powerOn(t, ctx)
	r.from.awaitPool(t, ctx, "tank", "the pool is imported", well)
	r.from.awaitMounted(t, ctx, sourceDataset, poolsDir)
	at.run = 0 // runs count from the start of the agent
	r.resumed(t, ctx, "sender", at)
	r.from.hasAll(t, ctx, r.files)
}

// testReplicateRetention: a schedule prunes all but the snapshot that the next step begins with, and that step sends what is new alone.
func testReplicateRetention(t *testing.T, ctx context.Context, r *replicated) {
	r.from.apply(t, ctx, steadySchedule)
	r.from.nextSnapshot(t, ctx, sourceDataset, "often-")
	r.run(t, ctx)
	received, err := r.to.snapshots(ctx, replicaDataset, "often-")
	if err != nil || len(received) == 0 {
		t.Fatalf("the replica has the snapshots %q, %v", received, err)
	}
	common := sourceDataset + strings.TrimPrefix(received[len(received)-1], replicaDataset)
	for range 4 { // two are kept
		r.from.nextSnapshot(t, ctx, sourceDataset, "often-")
	}
	r.from.wantFate(t, ctx, common, snapshotv1.Fate_FATE_STAYS, "begins its next step with it")
	r.from.apply(t, ctx, noSchedule)
	if now, err := r.from.snapshots(ctx, sourceDataset, "often-"); err != nil || len(now) > 4 || !slices.Contains(now, common) {
		t.Errorf("the source has %q, %v, want %s, and what the schedule keeps", now, err, common)
	}
	r.write(t, ctx, "retention", 1)
	r.run(t, ctx)
	job, err := r.from.job(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if sent := job.GetLast().GetSentBytes(); sent < 1<<20 || sent > 4<<20 {
		t.Errorf("%d bytes were sent for a file of a mebibyte", sent)
	}
	r.same(t, ctx, "retention")
}
