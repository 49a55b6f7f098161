package plan

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/storage/dataset"
	"github.com/cyvive/cyvive/internal/storage/snapshots"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// withStorage gives a configuration a document of each kind about storage.
func withStorage(c *config.Config) {
	tank := []config.DatasetTree{{Name: "tank", Recursive: true, Exclude: []string{"tank/out"}}}
	c.Pools = []config.Pool{{Name: "tank", Data: []config.DiskGroup{{Layout: config.LayoutSingle, Disks: []config.DiskSelector{{Serial: "a"}}}}}}
	c.Datasets = []config.Dataset{
		{Name: "tank/v", Volume: &config.Volume{SizeBytes: 1 << 30, BlockBytes: 16384}, Properties: map[string]string{"compression": "lz4"}},
		{Name: "node/plane/volumes/f", Properties: map[string]string{"quota": "1073741824"}, UserProperties: map[string]string{"org.example:a": "b"}},
	}
	c.SnapshotSchedules = []config.SnapshotSchedule{{
		Name: "daily", Datasets: tank, Schedule: config.Schedule{Unit: config.Daily, Hour: 3}, Prefix: "daily-",
		Keep: config.Keep{Last: 1, Hourly: 2, Daily: 3, Weekly: 4, Monthly: 5, Yearly: 6, Matching: "^keep", MinAge: time.Hour},
	}}
	c.ReplicationJobs = []config.ReplicationJob{{Name: "out", UUID: "a", Direction: config.DirectionPush, Sources: tank, Target: "backup"}}
}

// storageChanges changes each field of the documents about storage, by its path. What lies in a list, or is a property, is changed with the whole of it.
func storageChanges() map[string]func(*config.Config) {
	pool := func(change func(*config.Pool)) func(*config.Config) {
		return func(c *config.Config) { c.Pools = slices.Clone(c.Pools); change(&c.Pools[0]) }
	}
	volume := func(change func(*config.Volume)) func(*config.Config) {
		return func(c *config.Config) {
			c.Datasets = slices.Clone(c.Datasets)
			v := *c.Datasets[0].Volume
			change(&v)
			c.Datasets[0].Volume = &v
		}
	}
	schedule := func(change func(*config.SnapshotSchedule)) func(*config.Config) {
		return func(c *config.Config) {
			c.SnapshotSchedules = slices.Clone(c.SnapshotSchedules)
			change(&c.SnapshotSchedules[0])
		}
	}
	job := func(change func(*config.ReplicationJob)) func(*config.Config) {
		return func(c *config.Config) {
			c.ReplicationJobs = slices.Clone(c.ReplicationJobs)
			change(&c.ReplicationJobs[0])
		}
	}
	groups := []config.DiskGroup{{Layout: config.LayoutMirror}}
	disks := []config.DiskSelector{{Serial: "b"}}
	trees := []config.DatasetTree{{Name: "tank/other"}}
	parts := map[string]func(*config.Config){
		"Pool.name":    func(c *config.Config) { c.Pools = append(slices.Clone(c.Pools), config.Pool{Name: "other"}) },
		"Dataset.name": func(c *config.Config) { c.Datasets = c.Datasets[:1] },
		"SnapshotSchedule.name": func(c *config.Config) {
			c.SnapshotSchedules = append(slices.Clone(c.SnapshotSchedules), config.SnapshotSchedule{Name: "other"})
		},
		"ReplicationJob.name": func(c *config.Config) { c.ReplicationJobs = nil },

		"Pool.guid": pool(func(p *config.Pool) { p.GUID = 1 }), "Pool.presence": pool(func(p *config.Pool) { p.Presence = config.PoolExported }),
		"Pool.data": pool(func(p *config.Pool) { p.Data = groups }), "Pool.special": pool(func(p *config.Pool) { p.Special = groups }),
		"Pool.dedup": pool(func(p *config.Pool) { p.Dedup = groups }), "Pool.log": pool(func(p *config.Pool) { p.Log = groups }),
		"Pool.cache": pool(func(p *config.Pool) { p.Cache = disks }), "Pool.spares": pool(func(p *config.Pool) { p.Spares = disks }),
		"Pool.ashift": pool(func(p *config.Pool) { p.Ashift = 13 }), "Pool.autoexpand": pool(func(p *config.Pool) { p.Autoexpand = true }),
		"Pool.autotrim":      pool(func(p *config.Pool) { p.Autotrim = true }),
		"Pool.compatibility": pool(func(p *config.Pool) { p.Compatibility = "off" }), "Pool.failmode": pool(func(p *config.Pool) { p.Failmode = "panic" }),
		"Pool.multihost": pool(func(p *config.Pool) { p.Multihost = true }), "Pool.readOnly": pool(func(p *config.Pool) { p.ReadOnly = true }),
		"Pool.rewind": pool(func(p *config.Pool) { p.Rewind = true }), "Pool.scrub": pool(func(p *config.Pool) { p.Scrub.Unit = config.Hourly }),
		"Pool.trim":       pool(func(p *config.Pool) { p.Trim.Unit = config.Hourly }),
		"Pool.encryption": pool(func(p *config.Pool) { p.Encryption = config.PoolEncryptionNone }),

		"Dataset.volume.size":      volume(func(v *config.Volume) { v.SizeBytes = 1 << 31 }),
		"Dataset.volume.blockSize": volume(func(v *config.Volume) { v.BlockBytes = 1 << 15 }),
		"Dataset.volume.sparse":    volume(func(v *config.Volume) { v.Sparse = true }),
		"Dataset.properties": func(c *config.Config) {
			c.Datasets = slices.Clone(c.Datasets)
			c.Datasets[1].Properties = map[string]string{"quota": "1"}
		},
		"Dataset.userProperties": func(c *config.Config) { c.Datasets = slices.Clone(c.Datasets); c.Datasets[1].UserProperties = nil },

		"SnapshotSchedule.datasets": schedule(func(s *config.SnapshotSchedule) { s.Datasets = trees }),
		"SnapshotSchedule.schedule": schedule(func(s *config.SnapshotSchedule) { s.Schedule.Hour = 4 }),
		"SnapshotSchedule.prefix":   schedule(func(s *config.SnapshotSchedule) { s.Prefix = "other-" }),
		"SnapshotSchedule.keep":     schedule(func(s *config.SnapshotSchedule) { s.Keep.Last = 100 }),

		"ReplicationJob.uuid":        job(func(j *config.ReplicationJob) { j.UUID = "b" }),
		"ReplicationJob.direction":   job(func(j *config.ReplicationJob) { j.Direction = config.DirectionPull }),
		"ReplicationJob.peer":        job(func(j *config.ReplicationJob) { j.Peer.Address = "other" }),
		"ReplicationJob.sources":     job(func(j *config.ReplicationJob) { j.Sources = trees }),
		"ReplicationJob.target":      job(func(j *config.ReplicationJob) { j.Target = "other" }),
		"ReplicationJob.guarantee":   job(func(j *config.ReplicationJob) { j.Guarantee.Initial = config.GuaranteeNone }),
		"ReplicationJob.bandwidth":   job(func(j *config.ReplicationJob) { j.BandwidthBytes = 1 }),
		"ReplicationJob.prefix":      job(func(j *config.ReplicationJob) { j.Prefix = "other-" }),
		"ReplicationJob.schedule":    job(func(j *config.ReplicationJob) { j.Schedule.Unit = config.Hourly }),
		"ReplicationJob.promoted":    job(func(j *config.ReplicationJob) { j.Promoted = true }),
		"ReplicationJob.peerRetired": job(func(j *config.ReplicationJob) { j.PeerRetired = true }),
		"ReplicationJob.run":         job(func(j *config.ReplicationJob) { j.Run = config.RunPeer }),
		"ReplicationJob.history":     job(func(j *config.ReplicationJob) { j.History = config.HistoryLatest }),
		"ReplicationJob.verify":      job(func(j *config.ReplicationJob) { j.Verify = true }),

		"ReplicationJob.compression": job(func(j *config.ReplicationJob) { j.Compression = config.CompressionNone }),
	}
	out := map[string]func(*config.Config){}
	for _, leaf := range leaves() {
		for part, do := range parts {
			if leaf == part || strings.HasPrefix(leaf, part+".") {
				out[leaf] = do
			}
		}
	}
	return out
}

// TestDocumentsAreJudgedOneByOne: a change names its document, and what one of them cannot do keeps it as it was, and no other.
func TestDocumentsAreJudgedOneByOne(t *testing.T) {
	_, standalone, _ := inputs(t)
	from := standalone.Config
	withStorage(from)
	to := copied(from)
	to.Datasets = []config.Dataset{
		{Name: "tank/v", Volume: &config.Volume{SizeBytes: 1 << 29, BlockBytes: 16384}, Properties: map[string]string{"compression": "zstd"}},
		{Name: "node/plane/volumes/f", Volume: &config.Volume{SizeBytes: 1 << 30}, UserProperties: map[string]string{"org.example:a": "b"}},
		{Name: "tank/new"},
	}
	to.SnapshotSchedules = nil
	got := Compare(from, to)
	want := []Change{
		{Field: "Dataset[tank/new]", Effect: Live},
		{Field: "Dataset[tank/v].properties", Effect: Live}, {Field: "Dataset[node/plane/volumes/f].properties", Effect: Live},
		{"Dataset[tank/v].volume", Never, "a volume is never shrunk, since what lies behind its end would be lost"},
		{"Dataset[node/plane/volumes/f].volume", Never, "a file system does not become a volume, nor a volume a file system; declare another dataset"},
		{Field: "SnapshotSchedule[daily]", Effect: Live},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	force := InForce(from, to)
	if v := force.Datasets[0].Volume; v.SizeBytes != 1<<30 || force.Datasets[1].Volume != nil || force.Datasets[0].Properties["compression"] != "zstd" {
		t.Errorf("in force: %+v", force.Datasets)
	}
	if to.Datasets[0].Volume.SizeBytes != 1<<29 || len(force.SnapshotSchedules) != 0 {
		t.Error("what was wanted was changed")
	}
}

func TestStorageSpecs(t *testing.T) {
	_, standalone, _ := inputs(t)
	withStorage(standalone.Config)
	spec, err := SnapshotSpec(standalone.Config)
	if err != nil {
		t.Fatal(err)
	}
	p := spec.Policies[0]
	if p.Keep.Matching.String() != "^keep" {
		t.Errorf("matching: %v", p.Keep.Matching)
	}
	p.Keep.Matching = nil
	if d := cmp.Diff(snapshots.Policy{
		Name: "daily", Targets: []snapshots.Target{{Dataset: "tank", Recursive: true, Exclude: []string{"tank/out"}}},
		When: snapshots.Schedule{Calendar: snapshots.Daily, Hour: 3}, Prefix: "daily-",
		Keep: snapshots.Retention{Last: 1, Hourly: 2, Daily: 3, Weekly: 4, Monthly: 5, Yearly: 6, MinAge: time.Hour},
	}, p); d != "" {
		t.Errorf("policy (-want +got):\n%s", d)
	}
	if d := cmp.Diff(&dataset.Spec{Roots: []string{"node/plane/volumes", "tank"}, Datasets: []dataset.Dataset{
		{Name: "tank/v", Kind: zfs.Volume, SizeBytes: 1 << 30, Properties: map[string]string{"compression": "lz4", "volblocksize": "16384"}},
		{Name: "node/plane/volumes/f", Kind: zfs.Filesystem, Properties: map[string]string{"quota": "1073741824", "org.example:a": "b"}},
	}}, DatasetSpec(standalone.Config)); d != "" {
		t.Errorf("datasets (-want +got):\n%s", d)
	}
	for _, broken := range []func(*config.SnapshotSchedule){
		func(s *config.SnapshotSchedule) { s.Keep.Matching = "(" }, func(s *config.SnapshotSchedule) { s.Datasets = nil },
		func(s *config.SnapshotSchedule) { s.Schedule.Hour = 24 },
	} {
		_, again, _ := inputs(t)
		withStorage(again.Config)
		broken(&again.Config.SnapshotSchedules[0])
		if _, err := SnapshotSpec(again.Config); err == nil || !strings.Contains(err.Error(), "SnapshotSchedule daily") {
			t.Errorf("got %v", err)
		}
	}
}

// TestReadOnlyPools: the domains are told which pools are only read, and what is mounted of them is mounted so.
func TestReadOnlyPools(t *testing.T) {
	in := func(mountpoint string) map[string]string { return map[string]string{"mountpoint": mountpoint} }
	cfg := &config.Config{
		Pools: []config.Pool{{Name: "tank"}, {Name: "other", ReadOnly: true}},
		Datasets: []config.Dataset{
			{Name: "tank/a", Properties: in("/var/mnt/a")}, {Name: "other", Properties: in("/var/mnt/b")}, {Name: "other/c", Properties: in("/var/mnt/c")},
			{Name: "other/d"}, {Name: "others/e", Properties: in("/var/mnt/e")},
		},
	}
	got := DatasetSpec(cfg)
	pruned, err := SnapshotSpec(cfg)
	if err != nil || !slices.Equal(got.ReadOnly, []string{"other"}) || !slices.Equal(pruned.ReadOnly, []string{"other"}) {
		t.Errorf("read only are %q, and of snapshots %q, %v", got.ReadOnly, pruned.ReadOnly, err)
	}
	var options []string
	for _, d := range got.Datasets {
		options = append(options, d.Name+" "+strings.Join(d.Options, ","))
	}
	if d := cmp.Diff([]string{"tank/a nodev,nosuid", "other nodev,nosuid,ro", "other/c nodev,nosuid,ro", "other/d ", "others/e nodev,nosuid"}, options); d != "" {
		t.Errorf("options (-want +got):\n%s", d)
	}
}

// TestMountOf: what is mounted where, and how.
func TestMountOf(t *testing.T) {
	for name, c := range map[string]struct {
		d       config.Dataset
		target  string
		options []string
	}{
		"nowhere":  {config.Dataset{}, "", nil},
		"none":     {config.Dataset{Properties: map[string]string{"mountpoint": "none"}}, "", nil},
		"off":      {config.Dataset{Properties: map[string]string{"mountpoint": "/var/mnt/a", "canmount": "off"}}, "", nil},
		"noauto":   {config.Dataset{Properties: map[string]string{"mountpoint": "/var/mnt/a", "canmount": "noauto"}}, "", nil},
		"a volume": {config.Dataset{Volume: &config.Volume{}, Properties: map[string]string{"mountpoint": "/var/mnt/a"}}, "", nil},
		"for pods": {config.Dataset{Properties: map[string]string{"mountpoint": "/var/mnt/a", "canmount": "on"}}, "/var/mnt/a", []string{"nodev", "nosuid"}},
		"for data": {config.Dataset{Properties: map[string]string{"mountpoint": "/var/mnt/a", "exec": "off"}}, "/var/mnt/a", []string{"nodev", "nosuid", "noexec"}},
		"for all":  {config.Dataset{Properties: map[string]string{"mountpoint": "/var/mnt/a", "devices": "on", "setuid": "on", "exec": "on"}}, "/var/mnt/a", nil},
	} {
		target, options := mountOf(c.d)
		if target != c.target || !slices.Equal(options, c.options) {
			t.Errorf("%s: got %q with %q, want %q with %q", name, target, options, c.target, c.options)
		}
	}
}

// TestSchedulesAgree: every schedule that a document can have is one of the domain.
func TestSchedulesAgree(t *testing.T) {
	for _, s := range []config.Schedule{
		{Every: 10 * time.Second}, {Every: 366 * 24 * time.Hour}, {Unit: config.Hourly, Minute: 59}, {Unit: config.Daily, Hour: 23},
		{Unit: config.Weekly, Weekday: time.Saturday}, {Unit: config.Monthly, Day: 31}, {Unit: config.Yearly, Month: time.December, Day: 31},
	} {
		if err := times(s).Check(); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	if !times(config.Schedule{}).IsZero() {
		t.Error("none is some")
	}
}
