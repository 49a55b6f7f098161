package e2e

import (
	"context"
	"errors"
	"strings"
	"testing"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
)

// Documents of the second node while it is the primary, and before it gives the role back. Its job stays all the while: by it the first node is told.
const (
	promotedReplica = `
apiVersion: cyvive.dev/v1alpha1
kind: ReplicationJob
name: offsite
promoted: true
---
apiVersion: cyvive.dev/v1alpha1
kind: Dataset
name: backup/node1/tank/data
properties: {mountpoint: /var/mnt/data, sync: always}
`
	unmountedReplica = `
apiVersion: cyvive.dev/v1alpha1
kind: Dataset
name: backup/node1/tank/data
properties: {mountpoint: none}
`
	undeclaredReplica = `
apiVersion: cyvive.dev/v1alpha1
kind: Dataset
name: backup/node1/tank/data
$patch: delete
---
apiVersion: cyvive.dev/v1alpha1
kind: ReplicationJob
name: offsite
promoted: null
`
	withoutJob = `
apiVersion: cyvive.dev/v1alpha1
kind: ReplicationJob
name: offsite
$patch: delete
`
)

// Files that are written on one node alone.
const (
	lostFile      = poolsDir + "/never-sent"
	promotedFile  = poolsDir + "/written-on-the-replica"
	recoveredFile = poolsDir + "/written-after-the-failback"
)

// testFailover loses the first node, and has the second take its place: it has what was replicated, and nothing else, and can be written to.
func testFailover(t *testing.T, ctx context.Context, r *replicated) {
	r.from.put(t, ctx, lostFile, []byte("lost"))
	r.from.powerOff(t, ctx)
	if _, err := r.to.tell(ctx, "backup\n", "replication", "failover", "offsite"); err == nil || !strings.Contains(err.Error(), "not the job's target") {
		t.Errorf("a failover that was confirmed with another name: %v", err)
	}
	if d, err := r.to.dataset(ctx, replicaDataset); err != nil || !d.GetReadOnly() {
		t.Errorf("behind that the replica is %v, %v", d, err)
	}
	if _, err := r.to.tell(ctx, replicaTarget+"\n", "replication", "failover", "offsite"); err != nil {
		t.Fatal(err)
	}
	job := r.to.awaitJob(t, ctx, "the replica is the primary", func(j *replicationv1.Job) bool {
		return j.GetPhase() == replicationv1.Phase_PHASE_FAILED_OVER && roleOf(j) == replicationv1.Role_ROLE_PRIMARY
	})
	if got := job.GetRoots()[0].GetGeneration(); got != 1 {
		t.Errorf("the generation is %d, want the first", got)
	}
	if _, err := r.to.tell(ctx, "", "config", "apply", "--patch", r.to.patch(t, withoutJob)); err == nil || !strings.Contains(err.Error(), "was failed over") {
		t.Errorf("the job was taken out of the new primary's configuration: %v", err)
	}
	r.to.apply(t, ctx, promotedReplica)
	r.to.awaitMounted(t, ctx, replicaDataset, poolsDir)
	r.to.hasAll(t, ctx, r.files)
	r.to.hasNot(t, ctx, lostFile)
	r.to.put(t, ctx, promotedFile, []byte("kept"))
	r.to.has(t, ctx, promotedFile, []byte("kept"))
}

// testFailback finds the first node again, which is fenced and takes no writes, and gives the role back to it: it has what was written on the second
// meanwhile. What it had that was never sent is lost only when a person has said so.
func testFailback(t *testing.T, ctx context.Context, r *replicated) {
	r.to.apply(t, ctx, unmountedReplica)
	eventually(t, ctx, "the replica is not mounted any more", func(ctx context.Context) error {
		mounts, err := r.to.probe.Read(ctx, "/proc/1/mounts")
		if err == nil && strings.Contains(mounts, replicaDataset) {
			err = errors.New("it is mounted")
		}
		return err
	})
	r.to.apply(t, ctx, undeclaredReplica)
	r.from.powerOn(t, ctx)
	r.from.awaitJob(t, ctx, "the old primary is fenced", func(j *replicationv1.Job) bool {
		return j.GetPhase() == replicationv1.Phase_PHASE_FAILED_OVER && roleOf(j) == replicationv1.Role_ROLE_FENCED
	})
	r.from.awaitMounted(t, ctx, sourceDataset, poolsDir)
	if err := r.from.probe.Write(ctx, probedPath(poolsDir+"/refused"), nil); err == nil || !strings.Contains(err.Error(), "read-only file system") {
		t.Errorf("a write to the old primary: %v, want that it is refused", err)
	}
	r.failBack(t, ctx)
	r.from.awaitMounted(t, ctx, sourceDataset, poolsDir)
	r.from.hasAll(t, ctx, r.files)
	r.from.has(t, ctx, promotedFile, []byte("kept"))
	r.from.hasNot(t, ctx, lostFile)
	r.from.put(t, ctx, recoveredFile, []byte("again"))
	r.write(t, ctx, "back", 1)
	r.run(t, ctx)
	r.same(t, ctx, "back")
	r.from.awaitJob(t, ctx, "the first node is the primary again", func(j *replicationv1.Job) bool {
		return j.GetPhase() == replicationv1.Phase_PHASE_IDLE && roleOf(j) == replicationv1.Role_ROLE_PRIMARY && j.GetRoots()[0].GetGeneration() == 2
	})
	r.to.awaitJob(t, ctx, "the second is a replica again", func(j *replicationv1.Job) bool { return roleOf(j) == replicationv1.Role_ROLE_REPLICA })
}

// failBack brings the role back to the first node: without a decision that is refused, for what was never sent.
func (r *replicated) failBack(t *testing.T, ctx context.Context) {
	t.Helper()
	if _, err := r.from.tell(ctx, sourceDataset+"\n", "replication", "failback", "offsite"); err == nil {
		t.Error("a failback that loses what was never sent went well, and nobody has decided about it")
		return
	}
	var decision *replicationv1.Decision
	job, err := r.from.job(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range job.GetConflicts() {
		t.Logf("conflict: %v", c)
		for _, o := range c.GetOptions() {
			if o.GetKind() == "RollBack" && o.GetTarget() == sourceDataset {
				decision = o
			}
		}
	}
	if decision == nil {
		t.Fatalf("the job has no conflict that can be rolled back: %v", job)
	}
	r.from.has(t, ctx, lostFile, []byte("lost"))
	_, err = r.from.tell(ctx, decision.GetTarget()+"\n"+sourceDataset+"\n", "replication", "failback", "offsite", "--decide", decision.GetText())
	if err != nil {
		t.Fatal(err)
	}
}
