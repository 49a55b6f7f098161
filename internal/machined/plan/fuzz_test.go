package plan

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/internal/etcd"
	extensions "github.com/cyvive/cyvive/internal/extension/service"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/network"
	"github.com/cyvive/cyvive/internal/storage"
)

// FuzzBuild: a configuration that is accepted can be planned to the end, so that
// no node refuses later what it once took.
func FuzzBuild(f *testing.F) {
	_, _, cluster := inputs(f)
	cluster.Config.Cluster.ServiceAccountKey = cluster.Config.Cluster.CA.Key
	whole, err := config.Marshal(cluster.Config)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint16(0), uint16(0), []byte{})
	if at := strings.Index(string(whole), "10.244.0.0/16"); at > 0 {
		f.Add(uint16(at), uint16(13), []byte("fd00::/48"))
		f.Add(uint16(at), uint16(13), []byte("0.0.0.0/0"))
	}
	f.Fuzz(func(t *testing.T, at, gone uint16, in []byte) {
		from := int(at) % (len(whole) + 1)
		to := min(from+int(gone), len(whole))
		data := append(append(append([]byte{}, whole[:from]...), in...), whole[to:]...)
		cfg, err := config.Parse("user-data", data)
		if err != nil {
			return
		}
		trust, err := ReadTrust(cfg)
		if err != nil {
			t.Fatalf("Parse accepts it, ReadTrust does not: %v\n%s", err, data)
		}
		addresses := OwnAddresses(cfg, []netip.Prefix{netip.MustParsePrefix("10.5.0.2/24"), netip.MustParsePrefix("192.0.2.2/24"), netip.MustParsePrefix("172.16.0.2/24")})
		if len(addresses) == 0 {
			t.Errorf("two ranges of the cluster hold addresses of three networks\n%s", data)
		}
		d := Build(Input{Disk: "/dev/vda", Version: "1.0", Searched: true, Config: cfg, Trust: trust}, Facts{
			Network: network.Status{Ready: true, Addresses: addresses},
			Storage: storage.Status{Ready: true}, Etcd: etcd.Status{Running: true}, Identity: true, Confined: true, Extensions: &extensions.Spec{},
		})
		if d.Network == nil || d.Storage == nil || (d.Kube == nil) != (cfg.Cluster == nil) || (d.Etcd == nil) != (cfg.Cluster == nil) {
			t.Errorf("with everything ready some domain has no specification: waits %v\n%s", d.Waits, data)
		}
	})
}
