package plan

import (
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
			Data:    []config.DiskGroup{{Layout: config.LayoutMirror, Disks: []config.DiskSelector{{Serial: "A", Type: "ssd"}, {Sizes: []string{">=1TB"}, WWN: "w"}}}},
			Special: []config.DiskGroup{{Layout: config.LayoutSingle, Disks: one("B")}}, Dedup: []config.DiskGroup{{Layout: config.LayoutRAIDZ2, Disks: one("C")}},
			Log: []config.DiskGroup{{Layout: config.LayoutSingle, Disks: one("D")}}, Cache: one("E"), Spares: one("F"), Scrub: config.Schedule{Every: time.Hour},
		},
		{Name: "old", GUID: 7, Presence: config.PoolDestroyed, ReadOnly: true, Rewind: true, Compatibility: "off", Failmode: "continue", Autoexpand: true, Multihost: true},
	}})
	of := func(serial string) []disk.Selector { return []disk.Selector{{Serial: serial}} }
	want := pool.Spec{Pools: []pool.PoolSpec{
		{
			Name: "tank", Cache: of("E"), Spares: of("F"), Scrub: times(config.Schedule{Every: time.Hour}),
			Vdevs: []pool.VdevSpec{
				{Layout: pool.Mirror, Disks: []disk.Selector{{Serial: "A", Type: "ssd"}, {Sizes: []string{">=1TB"}, WWN: "w"}}},
				{Class: pool.Special, Disks: of("B")}, {Class: pool.Dedup, Layout: pool.RAIDZ2, Disks: of("C")}, {Class: pool.Log, Disks: of("D")},
			},
			Properties: map[string]string{
				"ashift": "12", "autoexpand": "off", "autotrim": "on", "compatibility": "openzfs-2.3", "failmode": "wait", "multihost": "off",
			},
		},
		{
			Name: "old", GUID: 7, Presence: pool.Destroyed, ReadOnly: true, Rewind: true,
			Properties: map[string]string{"autoexpand": "on", "autotrim": "off", "compatibility": "off", "failmode": "continue", "multihost": "on"},
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
		"none":         {Input{Searched: true}, Facts{}, "waiting for a valid configuration"},
		"not mounted":  {Input{Searched: true, Config: &config.Config{}}, Facts{Storage: storage.Status{Reason: "no disk"}}, "waiting for the state volume: no disk"},
		"no more wait": {Input{Searched: true, Config: &config.Config{}}, Facts{Storage: storage.Status{StateMounted: true}}, ""},
	} {
		d := Build(c.in, c.facts)
		if d.Waits[Pools] != c.want || (d.Pools == nil) != (c.want != "") {
			t.Errorf("%s: got %q and %+v, want %q", name, d.Waits[Pools], d.Pools, c.want)
		}
	}
}
