package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

const base = `apiVersion: cyvive.dev/v1alpha1
kind: Network
nameservers: [10.0.0.1, 10.0.0.2]
links:
  - name: eth0
    dhcp: true
  - name: eth1
    addresses: [10.5.0.2/24]
---
apiVersion: cyvive.dev/v1alpha1
kind: Machine
# who it is
hostname: node1
profile: strict
ca:
  certificate: public
  key: hunter2
`

func TestMerge(t *testing.T) {
	for name, test := range map[string]struct{ patch, gone, added string }{
		"a field":       {"kind: Machine\nhostname: node2\n", "hostname: node1\n", "hostname: node2\n"},
		"a deep field":  {"kind: Machine\nca: {key: other}\n", "  key: hunter2\n", "  key: other\n"},
		"null":          {"kind: Machine\nprofile: null\n", "profile: strict\n", ""},
		"a list":        {"kind: Network\nnameservers: [10.0.0.3]\n", "nameservers: [10.0.0.1, 10.0.0.2]\n", "nameservers: [10.0.0.3]\n"},
		"a named item":  {"kind: Network\nlinks: [{name: eth0, dhcp: false}]\n", "    dhcp: true\n", "    dhcp: false\n"},
		"an item less":  {"kind: Network\nlinks: [{name: eth0, $patch: delete}]\n", "  - name: eth0\n    dhcp: true\n", ""},
		"nothing there": {"kind: Network\nlinks: [{name: eth7, $patch: delete}]\n", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Merge([]byte(base), []byte(test.patch))
			if err != nil {
				t.Fatal(err)
			}
			want := strings.Replace(base, test.gone, test.added, 1)
			if test.gone == "" {
				want = base
			}
			if d := cmp.Diff(want, string(got)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestMergeDocuments(t *testing.T) {
	got, err := Merge([]byte(base), []byte("kind: Network\n$patch: delete\n---\nkind: Cluster\nname: demo\n"))
	if err != nil {
		t.Fatal(err)
	}
	if text := string(got); strings.Contains(text, "Network") || !strings.Contains(text, "kind: Cluster\nname: demo\n") || strings.Contains(text, "null") {
		t.Errorf("got:\n%s", text)
	}
	if got, err := Merge([]byte(base), []byte("kind: Network\nlinks: [{name: eth2, dhcp: true}]\n")); err != nil || !strings.Contains(string(got), "eth2") {
		t.Errorf("an item more: %v\n%s", err, got)
	}
	for _, bad := range []string{
		"hostname: x\n", "kind: Planet\n", "kind: [\n", "kind: Machine\nhostname: x\nhostname: y\n", "kind: Network\nlinks: [{name: eth0, dhcp: true, dhcp: false}]\n",
		"kind: Machine\nhostname: x\n---\nkind: Machine\nprofile: strict\n",
	} {
		if _, err := Merge([]byte(base), []byte(bad)); err == nil {
			t.Errorf("took the patch %q", bad)
		}
	}
}

func TestRedactAndRestore(t *testing.T) {
	shown, err := Redact([]byte(base))
	if err != nil {
		t.Fatal(err)
	}
	if text := string(shown); strings.Contains(text, "hunter2") || !strings.Contains(text, "key: '[redacted]'") || !strings.Contains(text, "# who it is") {
		t.Errorf("redacted:\n%s", text)
	}
	back, err := Restore([]byte(strings.Replace(string(shown), "node1", "node2", 1)), []byte(base))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Replace(base, "node1", "node2", 1), string(back)); d != "" {
		t.Errorf("given back (-want +got):\n%s", d)
	}
	// A secret that is not stored stays as it is, and is refused.
	left, err := Restore(shown, []byte("kind: Machine\n"))
	if err != nil || !strings.Contains(string(left), "[redacted]") {
		t.Errorf("without a stored one: %v\n%s", err, left)
	}
	// What is not known is not shown.
	unknown, err := Redact([]byte("kind: Planet\nkey: hunter2\nlist: [hunter2, {a: hunter2}]\n"))
	if err != nil || strings.Contains(string(unknown), "hunter2") {
		t.Errorf("of no kind: %v\n%s", err, unknown)
	}
}

// TestRestoreKeepsPasswords: a password is given to no other host, and under no other authority, than it was stored for, wherever in the list that is.
func TestRestoreKeepsPasswords(t *testing.T) {
	const (
		head   = "kind: Machine\nupgrade:\n  sources:\n"
		first  = "    - {host: a.example, ca: A, credentials: {username: node, password: %s}}\n"
		second = "    - {host: b.example, ca: B, credentials: {username: node, password: %s}}\n"
	)
	stored := head + fmt.Sprintf(first, "hunter-a") + fmt.Sprintf(second, "hunter-b")
	a, b := fmt.Sprintf(first, "'[redacted]'"), fmt.Sprintf(second, "'[redacted]'")
	for name, test := range map[string]struct{ given, want string }{
		"the first one is gone": {head + b, head + fmt.Sprintf(second, "hunter-b")},
		"in another order":      {head + b + a, head + fmt.Sprintf(second, "hunter-b") + fmt.Sprintf(first, "hunter-a")},
		"another host":          {strings.Replace(head+a, "a.example", "evil.example", 1), strings.Replace(head+a, "a.example", "evil.example", 1)},
		"another authority":     {strings.Replace(head+a, "ca: A", "ca: E", 1), strings.Replace(head+a, "ca: A", "ca: E", 1)},
	} {
		got, err := Restore([]byte(test.given), []byte(stored))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var have, want any
		if err := errors.Join(yaml.Unmarshal(got, &have), yaml.Unmarshal([]byte(test.want), &want)); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, have); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// TestParseRefusesRedacted: a secret that was not there to be restored is a mistake, also where any text would do for one.
func TestParseRefusesRedacted(t *testing.T) {
	data, err := Marshal(full(t))
	if err != nil {
		t.Fatal(err)
	}
	password := full(t).Machine.Upgrade.Sources[0].Credentials.Password.Reveal()
	_, err = Parse("user-data", []byte(strings.Replace(string(data), "password: "+password, "password: '[redacted]'", 1)))
	if err == nil || !strings.Contains(err.Error(), "credentials.password: got \"[redacted]\", and the node has no secret to put here") {
		t.Errorf("got %v", err)
	}
}

// TestRedactOfAnotherRelease: a document of a release that the node went back from may have secrets that this one does not know.
func TestRedactOfAnotherRelease(t *testing.T) {
	const document = `apiVersion: cyvive.dev/v1alpha1
kind: Machine
hostname: node1
joinToken: hunter2
ca: hunter2
profile: [hunter2, {a: hunter2}]
upgrade: {deadline: 5m, password: hunter2}
certSANs: hunter2
---
kind: Network
links: [{name: eth0, wireguard: {key: hunter2}}, hunter2]
nameservers: [10.0.0.1, [hunter2]]
gateways: &a {b: hunter2}
<<: *a
`
	shown, err := Redact([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(shown), "hunter2") {
		t.Errorf("a secret is left:\n%s", shown)
	}
	for _, want := range []string{"apiVersion: cyvive.dev/v1alpha1", "kind: Machine", "hostname: node1", "deadline: 5m", "name: eth0", "10.0.0.1"} {
		if !strings.Contains(string(shown), want) {
			t.Errorf("%q is not shown any more:\n%s", want, shown)
		}
	}
}

func TestGivenSecrets(t *testing.T) {
	for name, test := range map[string]struct {
		data string
		want []string
	}{
		"nothing":  {"", nil},
		"none":     {"kind: Machine\nhostname: node2\nca: {certificate: x}\n", nil},
		"as shown": {"kind: Machine\nca: {certificate: x, key: '[redacted]'}\n", nil},
		"some": {
			"kind: Machine\nca: {key: x}\nupgrade: {sources: [{credentials: {password: '[redacted]'}}, {credentials: {password: y}}]}\n---\nkind: Cluster\nencryptionKey: z\n",
			[]string{"Machine.ca.key", "Machine.upgrade.sources[1].credentials.password", "Cluster.encryptionKey"},
		},
		"twice":        {"kind: Machine\nca: {key: x, key: '[redacted]'}\n", []string{"Machine.ca.key"}},
		"of odd forms": {"kind: Machine\nca: {key: ['[redacted]']}\n", []string{"Machine.ca.key"}},
	} {
		got, err := GivenSecrets([]byte(test.data))
		if d := cmp.Diff(test.want, got); d != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, d)
		}
	}
	if _, err := GivenSecrets([]byte("kind: [\n")); err == nil {
		t.Error("what is no YAML has secrets")
	}
}

func TestChangedSecrets(t *testing.T) {
	for name, test := range map[string]struct {
		from, to string
		want     []string
	}{
		"none":    {base, strings.Replace(base, "node1", "node2", 1), nil},
		"another": {base, strings.Replace(base, "hunter2", "hunter3", 1), []string{"Machine.ca.key"}},
		"added":   {base, base + "---\nkind: Cluster\nencryptionKey: hunter2\netcdCA: {key: x}\n", []string{"Cluster.encryptionKey", "Cluster.etcdCA.key"}},
		"gone":    {base, "kind: Machine\n", []string{"Machine.ca.key"}},
	} {
		got, err := ChangedSecrets([]byte(test.from), []byte(test.to))
		if d := cmp.Diff(test.want, got); d != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, d)
		}
	}
	if _, err := ChangedSecrets([]byte(base), []byte("kind: [\n")); err == nil {
		t.Error("took what is no YAML")
	}
}

// TestRedactShowsNothing redacts a whole configuration: no key of it may be left.
func TestRedactShowsNothing(t *testing.T) {
	cfg := full(t)
	data, err := Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	shown, err := Redact(data)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(shown), "PRIVATE") || strings.Contains(string(shown), cfg.Cluster.EncryptionKey.Reveal()) {
		t.Errorf("a secret is left:\n%s", shown)
	}
	back, err := Restore(shown, data)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse("user-data", back)
	if d := cmp.Diff(cfg, got, compare()); d != "" || err != nil {
		t.Errorf("given back: %v\n%s", err, d)
	}
}

func FuzzMerge(f *testing.F) {
	f.Add([]byte(base), []byte("kind: Machine\nhostname: node2\n"))
	f.Add([]byte(base), []byte("kind: Network\nlinks: [{name: eth0, $patch: delete}]\n"))
	f.Add([]byte("a: &x 1\nb: *x\n"), []byte("kind: Machine\nb: {<<: *x}\n"))
	f.Fuzz(func(t *testing.T, to, patch []byte) {
		got, err := Merge(to, patch)
		if err != nil {
			return
		}
		if _, err := Redact(got); err != nil {
			t.Errorf("what was merged is not YAML: %v\n%s", err, got)
		}
	})
}

func FuzzRedact(f *testing.F) {
	f.Add([]byte(base))
	f.Add([]byte("kind: Machine\nca: {key: &a hunter2, certificate: *a}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		shown, err := Redact(data)
		if err != nil {
			return
		}
		again, err := Redact(shown)
		// The encoder puts empty lines round comments as it likes.
		if err != nil || strings.ReplaceAll(string(again), "\n\n", "\n") != strings.ReplaceAll(string(shown), "\n\n", "\n") {
			t.Errorf("redacted twice: %v\n%s\n%s", err, shown, again)
		}
	})
}
