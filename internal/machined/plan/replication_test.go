package plan

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/snapshots"
)

const jobUUID = "2f5c7f0e-8f43-4f0a-9a3d-5b8a3b1c7e10"

func TestReplications(t *testing.T) {
	_, standalone, _ := inputs(t)
	standalone.Config.ReplicationJobs = []config.ReplicationJob{{
		Name: "out", UUID: jobUUID, Direction: config.DirectionPush, Peer: config.Peer{Address: "10.5.0.9:50000", Identity: "node2"},
		Sources: []config.DatasetTree{{Name: "tank", Recursive: true, Exclude: []string{"tank/out"}}, {Name: "fast/db", Recursive: true}}, Target: "backup/node1",
		Guarantee: config.Guarantees{Initial: config.GuaranteeNone, Incremental: config.GuaranteeIncremental}, BandwidthBytes: 1 << 20, Prefix: "auto-",
		Schedule: config.Schedule{Every: time.Minute}, Run: config.RunHere, Compression: config.CompressionStored, History: config.HistoryLatest, Verify: true,
	}}
	want := Replication{
		Name: "out", Peer: config.Peer{Address: "10.5.0.9:50000", Identity: "node2"}, Sends: true, Runs: true,
		When: snapshots.Schedule{Every: time.Minute}, Top: "backup/node1",
		Job: replication.Job{
			ID: jobUUID, Direction: replication.Push,
			Roots:  []replication.Root{{Source: "tank", Target: "backup/node1/tank"}, {Source: "fast/db", Target: "backup/node1/fast/db"}},
			Filter: []replication.Rule{{Path: "tank/out"}}, Snapshots: []string{"auto-"}, Initial: replication.Latest,
			InitialGuarantee: replication.Nothing, Guarantee: replication.Incremental, Stream: replication.Stream{Large: true},
			Encryption: replication.EncryptionOff, BytesPerSecond: 1 << 20, Checksum: true,
		},
	}
	got, err := Replications(standalone.Config)
	if d := cmp.Diff([]Replication{want}, got); d != "" || err != nil {
		t.Errorf("jobs (-want +got), %v:\n%s", err, d)
	}
	// Push is who has the source and does the work, wherever the document is.
	for _, c := range []struct {
		direction config.Direction
		run       config.Place
		want      replication.Direction
	}{
		{config.DirectionPush, config.RunHere, replication.Push}, {config.DirectionPush, config.RunPeer, replication.Pull},
		{config.DirectionPull, config.RunHere, replication.Pull}, {config.DirectionPull, config.RunPeer, replication.Push},
	} {
		j := &standalone.Config.ReplicationJobs[0]
		j.Direction, j.Run = c.direction, c.run
		if got, err := Replications(standalone.Config); err != nil || got[0].Job.Direction != c.want || got[0].Sends != (c.direction == config.DirectionPush) {
			t.Errorf("%s, run %s: %+v, %v", c.direction, c.run, got, err)
		}
	}
	standalone.Config.ReplicationJobs[0].UUID = "none"
	if _, err := Replications(standalone.Config); err == nil || !strings.Contains(err.Error(), "ReplicationJob out") {
		t.Errorf("got %v", err)
	}
	if got, err := Replications(nil); got != nil || err != nil {
		t.Errorf("without a configuration: %v, %v", got, err)
	}
}

// TestDocumentedJob: what the guide shows is taken, on both nodes.
func TestDocumentedJob(t *testing.T) {
	guide, err := os.ReadFile("../../../docs/replication.md")
	if err != nil {
		t.Fatal(err)
	}
	_, standalone, _ := inputs(t)
	machine, err := config.Marshal(&config.Config{Machine: standalone.Config.Machine})
	if err != nil {
		t.Fatal(err)
	}
	var jobs []Replication
	for _, block := range strings.Split(string(guide), "```yaml\n")[1:] {
		example, _, _ := strings.Cut(block, "```")
		cfg, err := config.Parse("example", []byte(example+"---\n"+string(machine)))
		if err != nil {
			t.Fatal(err)
		}
		found, err := Replications(cfg)
		if err != nil {
			t.Fatal(err)
		}
		jobs = append(jobs, found...)
	}
	if len(jobs) != 2 {
		t.Fatalf("%d jobs, want one on each node", len(jobs))
	}
	a, b := jobs[0], jobs[1]
	if d := cmp.Diff(a.Job, b.Job); d != "" || a.Sends == b.Sends || a.Runs == b.Runs || a.Top != b.Top {
		t.Errorf("the two nodes do not mean the same job (-one +other):\n%s", d)
	}
}
