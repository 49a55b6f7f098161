package plan

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	csi "github.com/cyvive/cyvive/internal/csi/node"
	"github.com/cyvive/cyvive/internal/etcd"
	extensions "github.com/cyvive/cyvive/internal/extension/service"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/network"
	"github.com/cyvive/cyvive/internal/storage"
)

// TestCSI: the driver comes with Kubernetes, where volumes are wanted of it.
func TestCSI(t *testing.T) {
	_, _, cluster := inputs(t)
	facts := Facts{
		Network: network.Status{Ready: true, Addresses: []netip.Prefix{netip.MustParsePrefix("10.5.0.2/24")}},
		Storage: storage.Status{Ready: true}, Identity: true, Confined: true, Extensions: &extensions.Spec{},
	}
	running := facts
	running.Etcd = etcd.Status{Running: true}
	for _, test := range []struct {
		volumes config.VolumeMaker
		facts   Facts
		want    *csi.Spec
	}{
		{config.VolumesNone, running, nil},
		{config.VolumesZFS, facts, nil},
		{config.VolumesZFS, running, &csi.Spec{NodeName: "node1", Parents: []string{"node/plane/volumes"}}},
	} {
		cluster.Config.Cluster.Volumes = test.volumes
		if d := cmp.Diff(test.want, Build(cluster, test.facts).CSI); d != "" {
			t.Errorf("volumes %s, etcd runs %t (-want +got):\n%s", test.volumes, test.facts.Etcd.Running, d)
		}
	}
}

// TestVolumePools: of declared pools, those that somebody has meant for volumes, and that can be written to.
func TestVolumePools(t *testing.T) {
	long := strings.Repeat("a", 80)
	cfg := &config.Config{
		Machine: config.Machine{Hostname: "node1"},
		Pools: []config.Pool{
			{Name: "tank", Presence: config.PoolImported}, {Name: "fast", Presence: config.PoolImported}, {Name: "plain", Presence: config.PoolImported},
			{Name: "disk", Presence: config.PoolImported}, {Name: "old", Presence: config.PoolImported, ReadOnly: true}, {Name: "away", Presence: config.PoolExported},
			{Name: "gone", Presence: config.PoolDestroyed}, {Name: long, Presence: config.PoolImported},
		},
		Datasets: []config.Dataset{
			{Name: "fast/volumes"}, {Name: "tank/volumes"}, {Name: "plain/data/volumes"}, {Name: "disk/volumes", Volume: &config.Volume{SizeBytes: 1 << 30}},
			{Name: "old/volumes"}, {Name: "away/volumes"}, {Name: "gone/volumes"}, {Name: long + "/volumes"}, {Name: "node/plane/volumes/db"},
		},
	}
	spec := csiSpec(cfg)
	if d := cmp.Diff([]string{"node/plane/volumes", "tank/volumes", "fast/volumes"}, spec.Parents); d != "" {
		t.Errorf("parents (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"plain/volumes", "disk/volumes", "old/volumes", "away/volumes"}, spec.Away); d != "" {
		t.Errorf("where volumes may be, and are not made (-want +got):\n%s", d)
	}
}
