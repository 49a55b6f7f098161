package plan

import (
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/machined/config"
)

// leaves returns the paths of all fields of all documents; those of an object are its own.
func leaves() []string {
	var out []string
	var walk func(at string, fields []config.Field)
	walk = func(at string, fields []config.Field) {
		for _, f := range fields {
			if f.Type == config.TypeObject {
				walk(at+"."+f.Name, f.Fields)
				continue
			}
			out = append(out, at+"."+f.Name)
		}
	}
	for _, d := range config.Documents() {
		walk(d.Kind, d.Fields)
	}
	return out
}

// otherwise changes each field of a configuration of a cluster node, by its path. A role has no other value.
func otherwise(other *config.Config) map[string]func(*config.Config) {
	pair := func(of func(*config.Config) *config.KeyPair) func(*config.Config) {
		return func(c *config.Config) { *of(c) = *of(other) }
	}
	ca := pair(func(c *config.Config) *config.KeyPair { return &c.Machine.CA })
	kubernetes := pair(func(c *config.Config) *config.KeyPair { return &c.Cluster.CA })
	front := pair(func(c *config.Config) *config.KeyPair { return &c.Cluster.FrontProxyCA })
	etcd := pair(func(c *config.Config) *config.KeyPair { return &c.Cluster.EtcdCA })
	link := func(change func(*config.Link)) func(*config.Config) {
		return func(c *config.Config) {
			c.Network.Links = slices.Clone(c.Network.Links)
			change(&c.Network.Links[0])
		}
	}
	extension := func(e config.Extension) func(*config.Config) {
		return func(c *config.Config) { c.Machine.Extensions = []config.Extension{e} }
	}
	network := netip.MustParsePrefix("10.32.0.0/16")
	gate := func(g config.Gate) func(*config.Config) {
		return func(c *config.Config) { c.Machine.Upgrade.Gates = []config.Gate{g} }
	}
	from := func(s config.UpgradeSource) func(*config.Config) {
		return func(c *config.Config) { c.Machine.Upgrade.Sources = []config.UpgradeSource{s} }
	}
	server := func(s config.KeyServer) func(*config.Config) {
		return func(c *config.Config) { c.Machine.Disk.Encryption.KMS = &s }
	}
	registry := func(r config.Registry) func(*config.Config) {
		return func(c *config.Config) { c.Registries.Registries = []config.Registry{r} }
	}
	client := server(config.KeyServer{Client: &config.KeyPair{Certificate: "other", Key: config.NewSecret("other")}})
	all := storageChanges()
	maps.Copy(all, map[string]func(*config.Config){
		"Machine.disk.encryption.kms.endpoint": server(config.KeyServer{Endpoint: "https://other"}), "Machine.disk.encryption.kms.ca": server(config.KeyServer{CA: "other"}),
		"Machine.disk.encryption.kms.client.certificate": client, "Machine.disk.encryption.kms.client.key": client,
		"Machine.hostname": func(c *config.Config) { c.Machine.Hostname = "other" }, "Machine.ca.certificate": ca, "Machine.ca.key": ca,
		"Machine.certSANs":             func(c *config.Config) { c.Machine.CertSANs = []string{"other"} },
		"Machine.disk.encryption.mode": func(c *config.Config) { c.Machine.Disk.Encryption.Mode = config.EncryptionTPM },
		"Machine.profile":              func(c *config.Config) { c.Machine.Profile = config.ProfileStrict },
		"Machine.upgrade.deadline":     func(c *config.Config) { c.Machine.Upgrade.Deadline = 7 * time.Minute },
		"Machine.upgrade.gates.name":   gate(config.Gate{Name: "other"}), "Machine.upgrade.gates.kind": gate(config.Gate{Kind: config.GateTCP}),
		"Machine.upgrade.gates.target": gate(config.Gate{Target: "other"}),
		"Machine.upgrade.sources.host": from(config.UpgradeSource{Host: "other"}), "Machine.upgrade.sources.ca": from(config.UpgradeSource{CA: "other"}),
		"Machine.upgrade.sources.credentials.username": from(config.UpgradeSource{Credentials: &config.Credentials{Username: "other"}}),
		"Machine.upgrade.sources.credentials.password": from(config.UpgradeSource{Credentials: &config.Credentials{Password: config.NewSecret("other")}}),
		"Machine.time.servers":                         func(c *config.Config) { c.Machine.Time.Servers = []string{"other"} },
		"Machine.extensions.name":                      extension(config.Extension{Name: "other", Version: "1.0.0"}),
		"Machine.extensions.version":                   extension(config.Extension{Name: "one", Version: "2.0.0"}),
		"Network.links.name":                           link(func(l *config.Link) { l.Name = "eth7" }),
		"Network.links.dhcp":                           link(func(l *config.Link) { l.DHCP = !l.DHCP }),
		"Network.links.addresses":                      link(func(l *config.Link) { l.Addresses = []netip.Prefix{netip.MustParsePrefix("10.5.0.9/24")} }),
		"Network.links.gateway":                        link(func(l *config.Link) { l.Gateway = netip.MustParseAddr("10.5.0.1") }),
		"Network.nameservers":                          func(c *config.Config) { c.Network.Nameservers = []netip.Addr{netip.MustParseAddr("10.5.0.1")} },
		"Cluster.name":                                 func(c *config.Config) { c.Cluster.Name = "other" },
		"Cluster.endpoint":                             func(c *config.Config) { c.Cluster.Endpoint = "https://other:6443" },
		"Cluster.role":                                 func(c *config.Config) { c.Cluster.Role = "other" },
		"Cluster.podCIDR":                              func(c *config.Config) { c.Cluster.PodCIDR = network },
		"Cluster.serviceCIDR":                          func(c *config.Config) { c.Cluster.ServiceCIDR = network },
		"Cluster.dnsDomain":                            func(c *config.Config) { c.Cluster.DNSDomain = "other" },
		"Cluster.certSANs":                             func(c *config.Config) { c.Cluster.CertSANs = []string{"other"} },
		"Cluster.volumes":                              func(c *config.Config) { c.Cluster.Volumes = config.VolumesZFS },
		"Cluster.ca.certificate":                       kubernetes, "Cluster.ca.key": kubernetes,
		"Cluster.frontProxyCA.certificate": front, "Cluster.frontProxyCA.key": front,
		"Cluster.etcdCA.certificate": etcd, "Cluster.etcdCA.key": etcd,
		"Registries.ca":              func(c *config.Config) { c.Registries.CA = "other" },
		"Registries.registries.name": registry(config.Registry{Name: "other"}), "Registries.registries.ca": registry(config.Registry{CA: "other"}),
		"Registries.registries.mirrors":              registry(config.Registry{Mirrors: []string{"https://other"}}),
		"Registries.registries.credentials.username": registry(config.Registry{Credentials: &config.Credentials{Username: "other"}}),
		"Registries.registries.credentials.password": registry(config.Registry{Credentials: &config.Credentials{Password: config.NewSecret("other")}}),
		"Cluster.serviceAccountKey":                  func(c *config.Config) { c.Cluster.ServiceAccountKey = config.NewSecret("other") },
		"Cluster.encryptionKey":                      func(c *config.Config) { c.Cluster.EncryptionKey = config.NewSecret("other") },
	})
	return all
}

// copied is a configuration that can be changed without another.
func copied(c *config.Config) *config.Config {
	out := *c
	if c.Cluster != nil {
		cluster := *c.Cluster
		out.Cluster = &cluster
	}
	return &out
}

// TestEveryFieldCanBeJudged walks every field of every document. It is covered by one row of the table; a change of it is found, and by that row alone;
// and what is in force then has the change where it is live, and has it not where it is not.
func TestEveryFieldCanBeJudged(t *testing.T) {
	_, _, cluster := inputs(t)
	_, _, other := inputs(t)
	withStorage(cluster.Config)
	change := otherwise(other.Config)
	paths := leaves()
	for _, path := range paths {
		var rows []string
		for _, f := range fields() {
			if path == f.path || strings.HasPrefix(path, f.path+".") {
				rows = append(rows, f.path)
			}
		}
		if len(rows) != 1 {
			t.Errorf("%s is covered by the rows %q, want one", path, rows)
			continue
		}
		do := change[path]
		if do == nil {
			t.Errorf("%s: the test does not know how to change it", path)
			continue
		}
		wanted := copied(cluster.Config)
		do(wanted)
		list := Compare(cluster.Config, wanted)
		if len(list) != 1 || rowOf(list[0].Field) != rows[0] || (list[0].Why == "") != (list[0].Effect == Live) {
			t.Errorf("%s: the changes are %v", path, list)
			continue
		}
		force := InForce(cluster.Config, wanted)
		if effect := list[0].Effect; reflect.DeepEqual(force, wanted) != (effect == Live) || reflect.DeepEqual(force, cluster.Config) != (effect != Live) {
			t.Errorf("%s is %s, and in force is %+v", path, effect, force)
		}
		delete(change, path)
	}
	if len(change) > 0 || len(paths) < 20 {
		t.Errorf("of %d fields; what is changed beside is no field: %v", len(paths), change)
	}
	for _, f := range fields() {
		if !slices.ContainsFunc(paths, func(p string) bool { return p == f.path || strings.HasPrefix(p, f.path+".") }) {
			t.Errorf("the row %s covers no field", f.path)
		}
	}
}

func TestComparedDocuments(t *testing.T) {
	_, standalone, cluster := inputs(t)
	renamed := copied(standalone.Config)
	renamed.Machine.Hostname = "other"
	none := copied(cluster.Config)
	none.Cluster, none.Machine.CA = nil, standalone.Config.Machine.CA
	both := copied(cluster.Config)
	both.Cluster, both.Machine.Hostname = nil, "other"
	links := func(names ...string) *config.Config {
		c := copied(standalone.Config)
		c.Network.Links = nil
		for _, n := range names {
			c.Network.Links = append(c.Network.Links, config.Link{Name: n, Addresses: []netip.Prefix{netip.MustParsePrefix("fd00::1/64")}})
		}
		return c
	}
	volumes := func(of config.VolumeMaker) *config.Config {
		c := copied(cluster.Config)
		c.Cluster.Volumes = of
		return c
	}
	for name, test := range map[string]struct {
		from, to *config.Config
		want     []Change
		live     bool // all of it is in force at once
	}{
		"nothing":         {cluster.Config, copied(cluster.Config), nil, true},
		"a cluster comes": {none, copied(cluster.Config), []Change{{Field: "Cluster", Effect: Live}}, true},
		"a cluster goes":  {cluster.Config, none, []Change{{"Cluster", Reboot, "what runs of the cluster is not stopped until then"}}, false},
		"volumes come":    {volumes(config.VolumesNone), volumes(config.VolumesZFS), []Change{{Field: "Cluster.volumes", Effect: Live}}, true},
		"volumes go": {
			volumes(config.VolumesZFS), volumes(config.VolumesNone),
			[]Change{{"Cluster.volumes", Reboot, "csi-controllers runs until then; what Kubernetes has of the volumes stays"}}, false,
		},
		"a cluster and a name go": {cluster.Config, both, []Change{
			{"Cluster", Reboot, "what runs of the cluster is not stopped until then"},
			{"Machine.hostname", Reboot, "what runs of the cluster knows the node by it until then"},
		}, false},
		"no cluster, another name": {standalone.Config, renamed, []Change{{Field: "Machine.hostname", Effect: Live}}, true},
		"a link comes":             {links("eth0"), links("eth0", "eth1"), []Change{{Field: "Network.links", Effect: Live}}, true},
		"a link goes":              {links("eth0", "eth1"), links("eth0"), []Change{{Field: "Network.links", Effect: Live}}, true},
	} {
		if name == "a cluster comes" {
			test.to.Machine.CA = standalone.Config.Machine.CA
		}
		got := Compare(test.from, test.to)
		if name == "a cluster goes" {
			got = slices.DeleteFunc(got, func(c Change) bool { return c.Field == "Machine.ca" })
		}
		if d := cmp.Diff(test.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
		if live := reflect.DeepEqual(InForce(test.from, test.to), test.to); live != test.live {
			t.Errorf("%s: in force at once is %t", name, live)
		}
	}
	if force := InForce(cluster.Config, both); !reflect.DeepEqual(force, cluster.Config) {
		t.Errorf("while a cluster runs that goes with a name: in force is %+v", force)
	}
}

// secrets returns the paths of all secret fields, in the first item of each list that they are in.
func secrets() []string {
	var out []string
	var walk func(at string, fields []config.Field)
	walk = func(at string, fields []config.Field) {
		for _, f := range fields {
			path := at + "." + f.Name
			if f.Secret {
				out = append(out, path)
			}
			if f.List {
				path += "[0]"
			}
			walk(path, f.Fields)
		}
	}
	for _, d := range config.Documents() {
		walk(d.Kind, d.Fields)
	}
	return out
}

// TestAssume: with every secret field, one that is given looks as if it were another than there is, whether it is or not.
func TestAssume(t *testing.T) {
	_, _, cluster := inputs(t)
	_, _, other := inputs(t)
	change := otherwise(other.Config)
	paths := secrets()
	if len(paths) < 7 {
		t.Errorf("secret fields: %q", paths)
	}
	for _, path := range paths {
		wanted := copied(cluster.Config)
		change[strings.ReplaceAll(path, "[0]", "")](wanted)
		want := Compare(cluster.Config, wanted)
		for name, got := range map[string][]Change{"it is the same": Assume(nil, []string{path}), "it is another": Assume(want, []string{path})} {
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s, %s (-want +got):\n%s", path, name, d)
			}
		}
	}
	list := []Change{{"Cluster", Reboot, "x"}, {Field: "Network.nameservers", Effect: Live}}
	want := []Change{list[0], {Field: "Machine.ca", Effect: Live}, list[1]}
	if d := cmp.Diff(want, Assume(list, []string{"Cluster.ca.key", "Machine.ca.key", "Machine.caption"})); d != "" {
		t.Errorf("beside a cluster that goes (-want +got):\n%s", d)
	}
}
