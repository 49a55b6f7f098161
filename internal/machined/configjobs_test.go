package machined

import (
	"errors"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/replicate"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
)

// receiving is a configuration with a job of two trees.
func receiving(change func(*config.ReplicationJob)) *config.Config {
	j := config.ReplicationJob{
		Name: "offsite", UUID: offsiteUUID, Direction: config.DirectionPull, Run: config.RunPeer, Peer: config.Peer{Address: "node-a:50000"},
		Sources: []config.DatasetTree{{Name: "tank/data", Recursive: true}, {Name: "tank/more", Recursive: true}}, Target: "tank/in",
		Guarantee:   config.Guarantees{Initial: config.GuaranteeResumability, Incremental: config.GuaranteeResumability},
		Compression: config.CompressionStored, History: config.HistoryAll,
	}
	if change != nil {
		change(&j)
	}
	return &config.Config{ReplicationJobs: []config.ReplicationJob{j}}
}

// TestNoteOfWholePools: that a source is a whole pool is told of when it becomes one, since its role would not come back.
func TestNoteOfWholePools(t *testing.T) {
	pool := receiving(func(j *config.ReplicationJob) {
		j.Sources = append(j.Sources, config.DatasetTree{Name: "fast", Recursive: true})
	})
	for _, c := range []struct {
		what     string
		from, to *config.Config
		notes    int
	}{
		{"first", nil, pool, 1},
		{"added", receiving(nil), pool, 1},
		{"as before", pool, pool, 0},
		{"taken out", pool, receiving(nil), 0},
	} {
		notes := draft{cfg: c.to, current: c.from}.poolNotes()
		if len(notes) != c.notes || c.notes > 0 && !strings.Contains(notes[0], "the source fast is a whole pool") {
			t.Errorf("%s: %q", c.what, notes)
		}
	}
}

// TestJobsThatStay: a job whose replica was failed over to is not taken out, nor is a tree of it, unless the old primary is said to be retired.
func TestJobsThatStay(t *testing.T) {
	ctx := t.Context()
	receives := receiving
	none := &config.Config{}
	promoted := map[string]string{replication.PropertyGeneration: "1"}
	replica := map[string]string{replication.PropertyGeneration: "1", replication.PropertyReplica: offsiteUUID}
	fenced := map[string]string{replication.PropertyGeneration: "2", replication.PropertyFenced: "2"}
	promoting := map[string]string{replication.PropertyGeneration: "1", replication.PropertyPromoting: "1", replication.PropertyReplica: offsiteUUID}
	retired := func(j *config.ReplicationJob) { j.PeerRetired = true }
	for _, c := range []struct {
		what     string
		is       map[string]string // nil: it is not there
		from, to *config.Config
		suspend  bool
		refused  string
	}{
		{"promoted", promoted, receives(nil), none, false, "tank/in/tank/data is the primary"},
		{"being promoted", promoting, receives(nil), none, false, "tank/in/tank/data is the primary"},
		{"replica", replica, receives(nil), none, false, ""},
		{"failed back", fenced, receives(nil), none, false, ""},
		{"not there", nil, receives(nil), none, false, ""},
		{"not there, and declared", nil, receives(func(j *config.ReplicationJob) { j.Promoted = true }), none, false, "tank/in/tank/data, tank/in/tank/more is the primary"},
		{"cannot be read", promoted, receives(nil), none, true, "cannot be told"},
		{"retired", promoted, receives(retired), none, false, ""},
		{"retired, and cannot be read", promoted, receives(retired), none, true, ""},
		{"retired in the same change", promoted, receives(nil), receives(retired), false, ""},
		{"kept", promoted, receives(nil), receives(func(j *config.ReplicationJob) { j.Name, j.Promoted = "other", true }), false, ""},
		{"without its tree", promoted, receives(nil), receives(func(j *config.ReplicationJob) { j.Sources = j.Sources[1:] }), false, "tank/in/tank/data is the primary"},
		{"without another tree", promoted, receives(nil), receives(func(j *config.ReplicationJob) { j.Sources = j.Sources[:1] }), false, ""},
		{"with another target", promoted, receives(nil), receives(func(j *config.ReplicationJob) { j.Target = "tank/out" }), false, "tank/in/tank/data is the primary"},
		{"on the node that sends", promoted, receives(func(j *config.ReplicationJob) { j.Direction, j.Run = config.DirectionPush, config.RunHere }), none, false, ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			model := zfstest.New("node-b", "tank")
			var err error
			for _, name := range []string{"tank/in", "tank/in/tank", "tank/in/tank/data"} {
				if c.is != nil {
					err = errors.Join(err, model.Create(ctx, name, zfs.CreateOptions{}))
				}
			}
			if c.is != nil {
				err = errors.Join(err, model.Set(ctx, "tank/in/tank/data", c.is))
			}
			if err != nil {
				t.Fatal(err)
			}
			var system zfs.System = model
			if c.suspend {
				system = &suspended{System: model, pool: "tank"}
			}
			a := &Agent{jobs: replicate.New(replicate.Config{System: system})}
			err = a.keepsJobs(ctx, &draft{current: c.from, cfg: c.to})
			switch {
			case c.refused == "" && err != nil:
				t.Errorf("it is refused: %v", err)
			case c.refused != "" && (!errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), c.refused) || !strings.Contains(err.Error(), "peerRetired: true")):
				t.Errorf("got %v, want words of %q", err, c.refused)
			}
		})
	}
}
