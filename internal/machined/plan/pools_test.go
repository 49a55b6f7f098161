package plan

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/disk"
	"github.com/cyvive/cyvive/internal/storage/pool"
)

func TestPoolSpec(t *testing.T) {
	if got := PoolSpec(nil); len(got.Pools) > 0 {
		t.Errorf("of no configuration: %+v", got)
	}
	one := func(serial string) []config.DiskSelector { return []config.DiskSelector{{Serial: serial}} }
	got := PoolSpec(&config.Config{Pools: []config.Pool{
		{
			Name: "tank", Presence: config.PoolImported, Autotrim: true, Compatibility: "openzfs-2.3", Failmode: "wait", Ashift: 12,
			Encryption: config.PoolEncryptionLUKS2,
			Data:       []config.DiskGroup{{Layout: config.LayoutMirror, Disks: []config.DiskSelector{{Serial: "A", Type: "ssd"}, {Sizes: []string{">=1TB"}, WWN: "w"}}}},
			Special:    []config.DiskGroup{{Layout: config.LayoutSingle, Disks: one("B")}}, Dedup: []config.DiskGroup{{Layout: config.LayoutRAIDZ2, Disks: one("C")}},
			Log: []config.DiskGroup{{Layout: config.LayoutSingle, Disks: one("D")}}, Cache: one("E"), Spares: one("F"), Scrub: config.Schedule{Every: time.Hour},
		},
		{Name: "old", GUID: 7, Presence: config.PoolDestroyed, ReadOnly: true, Rewind: true, Compatibility: "off", Failmode: "continue", Autoexpand: true, Multihost: true, Encryption: config.PoolEncryptionNone},
		{Name: "as-found", Encryption: config.PoolEncryptionAuto},
	}})
	of := func(serial string) []disk.Selector { return []disk.Selector{{Serial: serial}} }
	want := pool.Spec{Pools: []pool.PoolSpec{
		{
			Name: "tank", Cache: of("E"), Spares: of("F"), Scrub: times(config.Schedule{Every: time.Hour}), Encryption: pool.EncryptAlways,
			Vdevs: []pool.VdevSpec{
				{Layout: pool.Mirror, Disks: []disk.Selector{{Serial: "A", Type: "ssd"}, {Sizes: []string{">=1TB"}, WWN: "w"}}},
				{Class: pool.Special, Disks: of("B")}, {Class: pool.Dedup, Layout: pool.RAIDZ2, Disks: of("C")}, {Class: pool.Log, Disks: of("D")},
			},
			Properties: map[string]string{
				"ashift": "12", "autoexpand": "off", "autotrim": "on", "compatibility": "openzfs-2.3", "failmode": "wait",
			},
		},
		{
			Name: "old", GUID: 7, Presence: pool.Destroyed, ReadOnly: true, Rewind: true, Encryption: pool.EncryptNever,
			Properties: map[string]string{"autoexpand": "on", "autotrim": "off", "compatibility": "off", "failmode": "continue", "multihost": "on"},
		},
		{
			Name: "as-found", Properties: map[string]string{"autoexpand": "off", "autotrim": "off", "compatibility": "", "failmode": ""},
		},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("specification (-want +got):\n%s", diff)
	}
	if got.Pools[1].Scrub != nil || got.Pools[1].Trim != nil {
		t.Error("a pool without a schedule has one")
	}
}

// TestPoolsWait: without the state volume it is not known which pools were there before, and without a configuration not which there are to be.
func TestPoolsWait(t *testing.T) {
	for name, c := range map[string]struct {
		in    Input
		facts Facts
		want  string
	}{
		"searching":    {Input{}, Facts{}, "looking for the configuration"},
		"medium":       {Input{Searched: true, Config: &config.Config{}, Medium: true}, Facts{}, OnMedium},
		"none":         {Input{Searched: true}, Facts{}, "waiting for a valid configuration"},
		"not mounted":  {Input{Searched: true, Config: &config.Config{}}, Facts{Storage: storage.Status{Reason: "no disk"}}, "waiting for the state volume: no disk"},
		"no more wait": {Input{Searched: true, Config: &config.Config{}}, Facts{Storage: storage.Status{StateMounted: true}, PoolsSeen: true}, ""},
	} {
		d := Build(c.in, c.facts)
		if d.Waits[Pools] != c.want || (d.Pools == nil) != (c.want != "") {
			t.Errorf("%s: got %q and %+v, want %q", name, d.Waits[Pools], d.Pools, c.want)
		}
		if d.Waits[Datasets] != c.want || d.Waits[Snapshots] != c.want || (d.Datasets == nil) != (c.want != "") || (d.Snapshots == nil) != (c.want != "") {
			t.Errorf("%s: what is in them does not wait for the same: %v, %+v, %+v", name, d.Waits, d.Datasets, d.Snapshots)
		}
	}
}

// TestDatasetsWaitForPools: what lies in pools is looked at after them.
func TestDatasetsWaitForPools(t *testing.T) {
	d := Build(Input{Searched: true, Config: &config.Config{}}, Facts{Storage: storage.Status{StateMounted: true}})
	const wait = "waiting for the pools to be looked at"
	if d.Pools == nil || d.Datasets != nil || d.Snapshots != nil || d.Waits[Pools] != "" || d.Waits[Datasets] != wait || d.Waits[Snapshots] != wait {
		t.Errorf("got %+v, %+v, %+v, waits %v", d.Pools, d.Datasets, d.Snapshots, d.Waits)
	}
	d = Build(Input{Searched: true, Config: &config.Config{}}, Facts{Storage: storage.Status{StateMounted: true, DataMounted: true}})
	if d.Datasets == nil || !d.Datasets.Seal || d.Datasets.Waits != wait || d.Waits[Datasets] != "" || d.Snapshots != nil {
		t.Errorf("where mount points can be made: %+v, waits %v", d.Datasets, d.Waits)
	}
	d = Build(Input{Searched: true, Config: &config.Config{}}, Facts{Storage: storage.Status{StateMounted: true, DataMounted: true}, PoolsSeen: true})
	if d.Datasets == nil || !d.Datasets.Seal || d.Datasets.Waits != "" {
		t.Errorf("once pools were looked at: %+v", d.Datasets)
	}
}

// TestPoolsDiffer: each of the three wakes for what is declared of it, and for nothing else.
func TestPoolsDiffer(t *testing.T) {
	facts := Facts{Storage: storage.Status{StateMounted: true}, PoolsSeen: true}
	with := func(change func(*config.Config)) Desired {
		cfg := &config.Config{}
		withStorage(cfg)
		change(cfg)
		return Build(Input{Searched: true, Config: cfg}, facts)
	}
	as := with(func(*config.Config) {})
	for name, c := range map[string]struct {
		change func(*config.Config)
		want   string
	}{
		"nothing":    {func(*config.Config) {}, ""},
		"a disk":     {func(c *config.Config) { c.Pools[0].Data[0].Disks[0].Serial = "other" }, "pools"},
		"a quota":    {func(c *config.Config) { c.Datasets[1].Properties["quota"] = "5" }, "datasets"},
		"a rule":     {func(c *config.Config) { c.SnapshotSchedules[0].Keep.Last = 9 }, "snapshots"},
		"a pattern":  {func(c *config.Config) { c.SnapshotSchedules[0].Keep.Matching = "x" }, "snapshots"},
		"bad policy": {func(c *config.Config) { c.SnapshotSchedules[0].Datasets = nil }, "snapshots"},
	} {
		d := with(c.change)
		var got []string
		for _, domain := range []string{Pools, Datasets, Snapshots} {
			if d.Differs(as, domain) {
				got = append(got, domain)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q differ, want %q", name, got, c.want)
		}
		if name == "bad policy" && (d.Snapshots != nil || !strings.Contains(d.Waits[Snapshots], "SnapshotSchedule daily")) {
			t.Errorf("%s: %+v, %q", name, d.Snapshots, d.Waits[Snapshots])
		}
	}
}
