package plan

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/etcd"
	extensions "github.com/cyvive/cyvive/internal/extension/service"
	"github.com/cyvive/cyvive/internal/kube"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/network"
	"github.com/cyvive/cyvive/internal/pki"
	"github.com/cyvive/cyvive/internal/service"
	"github.com/cyvive/cyvive/internal/storage"
)

// inputs returns a node without a configuration, one with a Machine document and one with a Cluster document.
func inputs(t testing.TB) (none, standalone, cluster Input) {
	t.Helper()
	pair := func(name string) config.KeyPair {
		a, err := pki.NewAuthority(name, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return config.KeyPair{Certificate: string(a.CertificatePEM()), Key: config.NewSecret(string(a.KeyPEM()))}
	}
	cfg := &config.Config{Machine: config.Machine{Hostname: "node1", CA: pair("api")}, Network: config.DefaultNetwork()}
	withCluster := *cfg
	withCluster.Cluster = &config.Cluster{
		Name: "demo", Endpoint: "https://127.0.0.1:6443", Role: config.RoleControlPlane, DNSDomain: "cluster.local",
		PodCIDR: netip.MustParsePrefix("10.244.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.96.0.0/12"),
		CA: pair("kubernetes"), FrontProxyCA: pair("front"), EtcdCA: pair("etcd"),
		ServiceAccountKey: config.NewSecret("key"), EncryptionKey: config.NewSecret("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
	}
	trusted := func(cfg *config.Config) Input {
		trust, err := ReadTrust(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return Input{Disk: "/dev/vda", Version: "1.0", Searched: true, Config: cfg, Trust: trust}
	}
	return Input{Disk: "/dev/vda", Version: "1.0", Searched: true}, trusted(cfg), trusted(&withCluster)
}

func TestOrderOfLayers(t *testing.T) {
	none, standalone, cluster := inputs(t)
	up := network.Status{Ready: true, Addresses: []netip.Prefix{netip.MustParsePrefix("10.5.0.2/24")}}
	v6 := network.Status{Ready: true, Addresses: []netip.Prefix{netip.MustParsePrefix("fd00::2/64")}}
	stored := storage.Status{Ready: true}
	onMedium := cluster
	onMedium.Medium = true
	for _, test := range []struct {
		name  string
		in    Input
		facts Facts
		// want lists the domains that get a specification; waits are the reasons of etcd and Kubernetes.
		want, waits string
	}{
		{"configuration is looked for", Input{Disk: "/dev/vda"}, Facts{}, "storage", "looking for the configuration"},
		{"no valid configuration", none, Facts{Network: up, Storage: stored}, "network storage", "waiting for a valid configuration"},
		{"no cluster", standalone, Facts{Network: up, Storage: stored, Identity: true}, "network storage", "no Cluster document is configured"},
		{"storage is not ready", cluster, Facts{Network: up, Storage: storage.Status{Reason: "volume data is not mounted yet"}},
			"network storage", "waiting for storage: volume data is not mounted yet"},
		{"nothing is known", cluster, Facts{}, "network storage", "waiting for storage: not looked at yet"},
		{"no identity", cluster, Facts{Network: up, Storage: stored}, "network storage", "waiting for the node's identity on the state volume"},
		{"no address", cluster, Facts{Network: network.Status{Reason: "link eth0 is down"}, Storage: stored, Identity: true},
			"network storage", "waiting for an IPv4 address: link eth0 is down"},
		{"no IPv4 address", cluster, Facts{Network: v6, Storage: stored, Identity: true}, "network storage", "waiting for an IPv4 address: not looked at yet"},
		{"etcd first", cluster, Facts{Network: up, Storage: stored, Identity: true}, "network storage etcd", "waiting for etcd to run"},
		{"no confinement", cluster, Facts{Network: up, Storage: stored, Identity: true, Etcd: etcd.Status{Running: true}},
			"network storage etcd", "waiting for the confinement of the workload plane"},
		{"no extensions yet", cluster, Facts{Network: up, Storage: stored, Identity: true, Confined: true, Etcd: etcd.Status{Running: true}},
			"network storage etcd", "waiting for the extensions to be put to use"},
		{"on an installation medium", onMedium, Facts{Network: up}, "network", OnMedium},
		{"all", cluster, Facts{Network: up, Storage: stored, Identity: true, Confined: true, Etcd: etcd.Status{Running: true}, Extensions: &extensions.Spec{}},
			"network storage etcd kubernetes extensions", ""},
		{"not decided what ZFS may use", cluster,
			Facts{Network: up, Storage: stored, Identity: true, Confined: true, Etcd: etcd.Status{Running: true}, Extensions: &extensions.Spec{}, Pooled: true},
			"network storage etcd extensions", "waiting for the pools to be known, by which it is decided how much memory ZFS may use"},
		{"all, with pools", cluster,
			Facts{Network: up, Storage: stored, Identity: true, Confined: true, Etcd: etcd.Status{Running: true}, Extensions: &extensions.Spec{}, Pooled: true, CacheBytes: 1 << 28},
			"network storage etcd kubernetes extensions", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := Build(test.in, test.facts)
			var got string
			for _, domain := range []struct {
				name   string
				wanted bool
			}{{"network", d.Network != nil}, {"storage", d.Storage != nil}, {"etcd", d.Etcd != nil}, {"kubernetes", d.Kube != nil}, {"extensions", d.Extensions != nil}} {
				if domain.wanted {
					got += " " + domain.name
				}
				if _, waits := d.Waits[domain.name]; waits == domain.wanted {
					t.Errorf("%s: wanted %t, and a reason to wait %t", domain.name, domain.wanted, waits)
				}
			}
			if d := cmp.Diff(" "+test.want, got); d != "" {
				t.Errorf("domains (-want +got):\n%s", d)
			}
			if d.Waits[Kubernetes] != test.waits {
				t.Errorf("Kubernetes waits: got %q, want %q", d.Waits[Kubernetes], test.waits)
			}
			if d.Kube != nil && d.Kube.CacheBytes != test.facts.CacheBytes {
				t.Errorf("kubelet leaves %d bytes to ZFS, want %d", d.Kube.CacheBytes, test.facts.CacheBytes)
			}
		})
	}
}

// TestOtherEncryption: a key server and a passphrase come to the volumes as they are given, also before there is a configuration; and a machine that can
// encrypt its disk without a TPM waits for the configuration too.
func TestOtherEncryption(t *testing.T) {
	none, plain, _ := inputs(t)
	none.Encrypts, none.Passphrase = true, config.NewSecret("correct horse battery staple")
	server := &config.KeyServer{Endpoint: "https://kms.example", CA: "CA", Client: &config.KeyPair{Certificate: "certificate", Key: config.NewSecret("key")}}
	for name, c := range map[string]struct {
		change func(*Input)
		want   storage.Encryption
	}{
		"none":  {func(*Input) {}, storage.Encryption{Mode: storage.Undecided}},
		"plain": {func(in *Input) { in.Encryption = config.EncryptionNone }, storage.Encryption{}},
		"to be stored": {func(in *Input) { in.Encryption, in.KeyServer = config.EncryptionKMS, server }, storage.Encryption{
			Mode: storage.KMS, Server: storage.KeyServer{Endpoint: "https://kms.example", CA: "CA", Certificate: "certificate", Key: storage.NewSecret("key")},
		}},
		"configured": {func(in *Input) {
			cfg := *plain.Config
			cfg.Machine.Disk.Encryption = config.Encryption{Mode: config.EncryptionKMS, KMS: &config.KeyServer{Endpoint: "https://kms.example"}}
			in.Config, in.Trust = &cfg, plain.Trust
		}, storage.Encryption{Mode: storage.KMS, Server: storage.KeyServer{Endpoint: "https://kms.example"}}},
		"a passphrase": {func(in *Input) { in.Encryption = config.EncryptionPassphrase }, storage.Encryption{Mode: storage.Passphrase}},
	} {
		in := none
		c.change(&in)
		c.want.Passphrase = storage.NewSecret("correct horse battery staple")
		for _, in.Kept = range []bool{false, true} {
			spec := Build(in, Facts{}).Storage
			for _, v := range spec.Volumes {
				want := c.want
				want.Held = want.Mode.Encrypts() && v.Name == storage.Data && !in.Kept
				if d := cmp.Diff(want, v.Encryption); d != "" || spec.Cap {
					t.Errorf("%s, stored %t: volume %s, capped %t (-want +got):\n%s", name, in.Kept, v.Name, spec.Cap, d)
				}
			}
		}
	}
}

// TestHowVolumesAreMade: by the configuration; a machine without a TPM does not wait for it, since it could only be told not to encrypt them.
func TestHowVolumesAreMade(t *testing.T) {
	none, plain, _ := inputs(t)
	sealed := plain
	cfg := *plain.Config
	cfg.Machine.Disk.Encryption.Mode = config.EncryptionTPM
	sealed.Config = &cfg
	kept := sealed
	kept.Kept = true
	for _, test := range []struct {
		name          string
		in            Input
		with, without storage.Mode
	}{
		{"looked for", Input{Disk: "/dev/vda"}, storage.Undecided, storage.Plain},
		{"none", none, storage.Undecided, storage.Plain},
		{"to be stored, without encryption", Input{Disk: "/dev/vda", Encryption: config.EncryptionNone}, storage.Plain, storage.Plain},
		{"to be stored, with encryption", Input{Disk: "/dev/vda", Encryption: config.EncryptionTPM}, storage.TPM, storage.TPM},
		{"without encryption", plain, storage.Plain, storage.Plain},
		{"with encryption", sealed, storage.TPM, storage.TPM},
		{"stored, with encryption", kept, storage.TPM, storage.TPM},
	} {
		for tpm, want := range map[bool]storage.Mode{true: test.with, false: test.without} {
			test.in.TPM = tpm
			spec := Build(test.in, Facts{}).Storage
			if spec.Cap != tpm {
				t.Errorf("%s, TPM %t: it is capped: %t", test.name, tpm, spec.Cap)
			}
			for _, v := range spec.Volumes {
				// The key of data is to lie on no state volume that never had a configuration.
				want := storage.Encryption{Mode: want, Held: want == storage.TPM && v.Name == storage.Data && !test.in.Kept}
				if v.Encryption != want {
					t.Errorf("%s, TPM %t: %s is made by %+v, want %+v", test.name, tpm, v.Name, v.Encryption, want)
				}
			}
		}
	}
	if d := cmp.Diff(storage.DefaultSpec("/dev/vda"), *Build(plain, Facts{}).Storage); d != "" {
		t.Errorf("without TPM and encryption it is another layout (-before +now):\n%s", d)
	}
}

// TestLostConfiguration: what a node has of its network is left to it only where it had a configuration that cannot be had now.
func TestLostConfiguration(t *testing.T) {
	none, standalone, _ := inputs(t)
	for _, test := range []struct {
		in         Input
		lost, want bool
	}{{none, true, true}, {none, false, false}, {standalone, true, false}} {
		test.in.Lost = test.lost
		if got := Build(test.in, Facts{}).Network.Keep; got != test.want {
			t.Errorf("a configuration: %t, lost %t: what is there is kept: %t", test.in.Config != nil, test.lost, got)
		}
	}
}

func TestSpecifications(t *testing.T) {
	_, _, cluster := inputs(t)
	facts := Facts{
		Network: network.Status{Ready: true, Addresses: []netip.Prefix{netip.MustParsePrefix("10.5.0.2/24")}},
		Storage: storage.Status{Ready: true}, Identity: true, Confined: true, Etcd: etcd.Status{Running: true},
		Extensions: &extensions.Spec{Services: []extensions.Service{{Extension: "agent"}}},
	}
	d := Build(cluster, facts)
	if d.Extensions != facts.Extensions {
		t.Errorf("services of extensions: got %+v", d.Extensions)
	}
	if got := fmt.Sprintf("%s %s %s %s %s", d.Etcd.Name, d.Etcd.Address, d.Kube.NodeName, d.Kube.Addresses, d.Kube.Version); got != "node1 10.5.0.2 node1 [10.5.0.2] 1.0" {
		t.Errorf("got %s", got)
	}
	if d.Network.Services != nil {
		t.Errorf("services before they are known: %v", d.Network.Services)
	}
	if got := fmt.Sprint(d.Network.Unreachable); got != "[10.96.0.0/12]" {
		t.Errorf("unreachable: got %s, want the range of service addresses", got)
	}
	if got := fmt.Sprint(d.Network.Reserved); got != "[10.244.0.0/16 10.96.0.0/12]" {
		t.Errorf("reserved: got %s, want the ranges of pods and services", got)
	}
	facts.Services = service.New(nil)
	if d := Build(cluster, facts); d.Network.Services != facts.Services {
		t.Errorf("services: got %v", d.Network.Services)
	}
	more := Build(cluster, facts)
	for _, domain := range []string{Network, Storage, Etcd, Kubernetes, Extensions} {
		if got := d.Differs(more, domain); got != (domain == Network) {
			t.Errorf("services make a difference to %s: %t", domain, got)
		}
	}
	facts.Etcd.Running = false
	if d := Build(cluster, facts); !d.Differs(more, Kubernetes) || d.Differs(more, Etcd) {
		t.Error("etcd that is away holds Kubernetes back, and nothing else")
	}
	if d.Network.Hostname != "node1" || len(d.Kube.EncryptionKey) != 32 || !d.Kube.EtcdCA.Equal(d.Etcd.CA) {
		t.Errorf("got %+v", d)
	}
}

// TestAddressesOfOthers: an address of the cluster's pods or services that the node has all the same, as it may until it gives it up, is none to advertise, nor
// one to be named by; without another the cluster waits, and says why.
func TestAddressesOfOthers(t *testing.T) {
	_, standalone, cluster := inputs(t)
	var addresses []netip.Prefix
	for _, text := range []string{"10.96.0.1/12", "10.111.255.255/8", "10.244.3.4/16", "10.5.0.2/24", "fd00::2/64"} {
		addresses = append(addresses, netip.MustParsePrefix(text))
	}
	facts := Facts{
		Network: network.Status{Addresses: addresses, Reason: "the lease is refused"}, Storage: storage.Status{Ready: true}, Identity: true, Confined: true,
		Etcd: etcd.Status{Running: true}, Extensions: &extensions.Spec{},
	}
	d := Build(cluster, facts)
	if d.Etcd == nil || d.Kube == nil {
		t.Fatalf("with an address of its own it waits: %v", d.Waits)
	}
	if got := fmt.Sprint(d.Etcd.Address, d.Kube.Addresses); got != "10.5.0.2 [10.5.0.2 fd00::2]" {
		t.Errorf("got %s", got)
	}
	if got := OwnAddresses(standalone.Config, addresses); len(got) != len(addresses) || len(OwnAddresses(nil, addresses)) != len(addresses) {
		t.Errorf("without a cluster: got %v", got)
	}
	facts.Network.Addresses = addresses[:3]
	if d := Build(cluster, facts); d.Kube != nil || d.Waits[Kubernetes] != "waiting for an IPv4 address: the lease is refused" {
		t.Errorf("without one of its own: waits %q", d.Waits[Kubernetes])
	}
}

func TestReadTrustRefusesWhatParseWould(t *testing.T) {
	_, standalone, cluster := inputs(t)
	broken := *standalone.Config
	broken.Machine.CA = cluster.Config.Cluster.CA
	broken.Machine.CA.Key = standalone.Config.Machine.CA.Key
	if _, err := ReadTrust(&broken); err == nil {
		t.Error("a key of another authority was accepted")
	}
}

// TestRegistries: what the configuration says of registries is what Kubernetes gets, and one that changes is a change of it.
func TestRegistries(t *testing.T) {
	_, _, cluster := inputs(t)
	before := KubeSpec(cluster, nil)
	cfg := *cluster.Config
	cfg.Registries = config.Registries{CA: "all", Registries: []config.Registry{
		{Name: "docker.io", Mirrors: []string{"https://mirror.example"}},
		{Name: "mirror.example", CA: "own", Credentials: &config.Credentials{Username: "node", Password: config.NewSecret("hunter2")}},
	}}
	cluster.Config = &cfg
	spec := KubeSpec(cluster, nil)
	want := kube.Registries{CA: "all", Entries: []kube.Registry{
		{Name: "docker.io", Mirrors: []string{"https://mirror.example"}},
		{Name: "mirror.example", CA: "own", Username: "node", Password: pki.Secret("hunter2")},
	}}
	if d := cmp.Diff(want, spec.Registries); d != "" {
		t.Errorf("registries (-want +got):\n%s", d)
	}
	if !(Desired{Kube: before}).Differs(Desired{Kube: spec}, Kubernetes) {
		t.Error("registries that are added change nothing")
	}
}
