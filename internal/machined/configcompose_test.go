package machined

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/pki"
)

// TestMistakesOfPatches: each mistake is told of the file and line that it is from, that of a patch or that of what this goes onto.
func TestMistakesOfPatches(t *testing.T) {
	a, err := pki.NewAuthority("api", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pool := func(name, serial string) config.Pool {
		return config.Pool{Name: name, Autotrim: true, Data: []config.DiskGroup{{Disks: []config.DiskSelector{{Serial: serial}}}}}
	}
	data, err := config.Marshal(&config.Config{
		Machine: config.Machine{Hostname: "node1", CA: config.KeyPair{Certificate: string(a.CertificatePEM()), Key: config.NewSecret(string(a.KeyPEM()))}},
		Network: config.Network{Links: []config.Link{{Name: "eth0", DHCP: true}, {Name: "eth1", Addresses: []netip.Prefix{netip.MustParsePrefix("10.5.0.2/24")}}}},
		Pools:   []config.Pool{pool("one", "S1"), pool("two", "S2")}, Datasets: []config.Dataset{{Name: "one/data"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	wrong := strings.Replace(string(data), "hostname: node1", "hostname: Node_1", 1)
	line := strings.Count(wrong[:strings.Index(wrong, "hostname: Node_1")], "\n") + 1
	ofDocument := fmt.Sprintf(`mine.yaml:%d: Machine.hostname: got "Node_1", expected a host name`, line)
	for name, test := range map[string]struct {
		document, patch string
		want            []string
	}{
		"a value":         {"", "kind: Machine\nhostname: Node_2\n", []string{`p.yaml:2: Machine.hostname: got "Node_2", expected a host name`}},
		"no field":        {"", "kind: Machine\n\nprofil: strict\n", []string{"p.yaml:3: Machine.profil: unknown field, expected one of"}},
		"no value":        {"", "kind: Machine\nhostname: null\n", []string{"p.yaml:2: Machine.hostname: missing, expected a host name"}},
		"a secret":        {"", "kind: Machine\nca: {key: x}\n", []string{"p.yaml:2: Machine.ca.key: got a text that is none"}},
		"an item":         {"", "kind: Network\nlinks:\n- name: eth1\n  gateway: west\n", []string{`p.yaml:4: Network.links[1].gateway: got "west", expected an IP address`}},
		"a list":          {"", "kind: Network\nnameservers:\n- 10.5.0.1\n- west\n", []string{`p.yaml:4: Network.nameservers[1]: got "west", expected an IP address`}},
		"one of several":  {"", "# the second\nkind: Pool\nname: two\nfailmode: west\n", []string{`p.yaml:4: Pool.failmode: got "west", expected wait, continue or panic`}},
		"a document":      {"", "# new\n\napiVersion: cyvive.dev/v1alpha1\nkind: Cluster\nname: demo\n", []string{"p.yaml:3: Cluster.endpoint: missing, expected a URL"}},
		"what it removes": {"", "kind: Pool\nname: one\n$patch: delete\n", []string{"p.yaml:1: Dataset.name: one/data lies in the pool one, expected a document of kind Pool"}},
		"given twice":     {"", "kind: Machine\nhostname: a\nhostname: b\n", []string{"p.yaml:3: Machine.hostname: given twice, first on line 2"}},
		"a second one":    {"", "kind: Machine\n---\nkind: Machine\n", []string{"p.yaml:3: Machine: second document for Machine, expected only the one on line 1"}},
		"no YAML":         {"", "kind: Machine\nhostname: [\n", []string{"p.yaml:"}},
		"of the document": {wrong, "kind: Machine\nprofile: strict\n", []string{ofDocument}},
		"mended":          {wrong, "kind: Machine\nhostname: node3\nprofile: odd\n", []string{`p.yaml:3: Machine.profile: got "odd", expected standard or strict`}},
		"of both": {
			wrong, "kind: Machine\nprofile: odd\n---\nkind: Pool\nname: one\nashift: 99\n",
			[]string{ofDocument, `p.yaml:2: Machine.profile: got "odd"`, `p.yaml:6: Pool.ashift: got "99", expected a whole number`},
		},
	} {
		_, _, err := compose(data, server.ConfigDocument{Name: "mine.yaml", Document: test.document, Patch: test.patch, PatchName: "p.yaml"}, nil)
		if err == nil {
			t.Errorf("%s: it was taken", name)
			continue
		}
		got := strings.Split(err.Error(), "\n")
		for _, want := range test.want {
			if !slices.ContainsFunc(got, func(line string) bool { return strings.HasPrefix(line, want) }) {
				t.Errorf("%s: got\n%v\nwant a line that begins with\n%s", name, err, want)
			}
		}
		if len(got) != len(test.want) && name != "a document" {
			t.Errorf("%s: got\n%v\nwant %d mistakes", name, err, len(test.want))
		}
	}
	_, _, err = compose(data, server.ConfigDocument{Patch: "kind: Machine\nhostname: node_2\n"}, nil)
	if err == nil || !strings.HasPrefix(err.Error(), "patch:2: Machine.hostname: ") {
		t.Errorf("of a file without a name: %v", err)
	}
}

// TestPatchKeepsSecretsInPlace: a password stays as it is under a patch, but not where that sends it elsewhere.
func TestPatchKeepsSecretsInPlace(t *testing.T) {
	t.Parallel()
	a, err := pki.NewAuthority("other", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	machine, err := config.Marshal(&config.Config{Machine: config.Machine{
		Hostname: "node1", CA: config.KeyPair{Certificate: string(a.CertificatePEM()), Key: config.NewSecret(string(a.KeyPEM()))},
	}})
	if err != nil {
		t.Fatal(err)
	}
	account := func(host, name, password string) string {
		return fmt.Sprintf("apiVersion: cyvive.dev/v1alpha1\nkind: Registries\nregistries:\n  - name: %s\n    credentials: {username: %s, password: %q}\n", host, name, password)
	}
	current := slices.Concat(machine, []byte("---\n"+account("one.example", "me", "hunter2")))
	authority := "    ca: |\n      " + strings.ReplaceAll(strings.TrimSpace(string(a.CertificatePEM())), "\n", "\n      ") + "\n"
	other := "kind: Machine\nhostname: node2\n"
	for name, test := range map[string]struct {
		document, patch string
		kept            bool
	}{
		"something else":            {"", other, true},
		"another authority":         {"", "kind: Registries\nregistries:\n  - name: one.example\n" + authority, false},
		"another account there":     {"", "kind: Registries\nregistries:\n  - {name: one.example, credentials: {username: you}}\n", true},
		"shown, for another one":    {"", account("one.example", "you", config.Redacted), true},
		"of a document, as it was":  {string(machine) + "---\n" + account("one.example", "me", config.Redacted), other, true},
		"of a document, sent away":  {string(machine) + "---\n" + account("two.example", "me", config.Redacted), other, false},
		"with the password at hand": {"", account("one.example", "me", "hunter3") + authority, true},
	} {
		data, _, err := compose(current, server.ConfigDocument{Document: test.document, Patch: test.patch}, nil)
		if kept := err == nil && bytes.Contains(data, []byte("hunter")); kept != test.kept {
			t.Errorf("%s: got %v\n%s", name, err, data)
		}
	}
}

// FuzzCompose: whatever is given as a document and a patch, what comes out is what the parser takes, and no error shows a secret of the current
// configuration.
func FuzzCompose(f *testing.F) {
	a, err := pki.NewAuthority("api", time.Now())
	if err != nil {
		f.Fatal(err)
	}
	current, err := config.Marshal(&config.Config{Machine: config.Machine{
		Hostname: "node1", CA: config.KeyPair{Certificate: string(a.CertificatePEM()), Key: config.NewSecret(string(a.KeyPEM()))},
	}})
	if err != nil {
		f.Fatal(err)
	}
	shown, err := config.Redact(current)
	if err != nil {
		f.Fatal(err)
	}
	secret := strings.Split(string(a.KeyPEM()), "\n")[1]
	f.Add(string(shown), "")
	f.Add("", "kind: Machine\nhostname: node2\n")
	f.Add(string(shown), "kind: Machine\nca: {key: '[redacted]', certificate: '[redacted]'}\n")
	f.Add("kind: Machine\nhostname: '[redacted]'\nca: '[redacted]'\n", "kind: Network\nlinks: [{name: '[redacted]'}]\n")
	f.Fuzz(func(t *testing.T, document, patch string) {
		data, cfg, err := compose(current, server.ConfigDocument{Name: "mine.yaml", Document: document, Patch: patch}, nil)
		if (err == nil) == (cfg == nil) {
			t.Fatalf("a configuration %v, and the error %v", cfg, err)
		}
		if err != nil {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error shows a secret: %v", err)
			}
			return
		}
		if _, err := config.Parse("again", data); err != nil {
			t.Errorf("what was taken is not valid: %v", err)
		}
		if out, err := config.Redact(data); err != nil || bytes.Contains(out, []byte(secret)) {
			t.Errorf("what was taken shows a secret: %v\n%s", err, out)
		}
	})
}
