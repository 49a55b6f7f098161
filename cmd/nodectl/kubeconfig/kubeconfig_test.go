package kubeconfig

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

const fresh = `apiVersion: v1
kind: Config
clusters: [{name: demo, cluster: {server: "https://127.0.0.1:6443"}}]
users: [{name: admin@demo, user: {token: new}}]
contexts: [{name: demo, context: {cluster: demo, user: admin@demo}}]
current-context: demo
`

// tree reads YAML for comparison.
func tree(t *testing.T, text []byte) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestPath(t *testing.T) {
	dir := t.TempDir()
	there := filepath.Join(dir, "there")
	if err := os.WriteFile(there, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	absent := filepath.Join(dir, "absent")
	list := string(filepath.ListSeparator)
	for _, test := range []struct{ kubeconfig, home, want string }{
		{"", "/h", "/h/.kube/config"},
		{absent, "/h", absent},
		{absent + list + there, "/h", there},
		{list + absent, "/h", absent},
		{"", "", ""},
	} {
		env := map[string]string{"KUBECONFIG": test.kubeconfig, "HOME": test.home}
		got, err := Path(func(name string) string { return env[name] })
		if got != test.want || (err != nil) != (test.want == "") {
			t.Errorf("%+v: got %q, %v", test, got, err)
		}
	}
}

func TestMergeIntoNothing(t *testing.T) {
	for _, existing := range []string{"", "\n", "# only a comment\n", "null\n"} {
		got, err := Merge([]byte(existing), []byte(fresh))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tree(t, []byte(fresh)), tree(t, got)); diff != "" {
			t.Errorf("into %q (-want +got):\n%s", existing, diff)
		}
	}
}

func TestMergeTwiceIsOnce(t *testing.T) {
	existing := "kind: Config\nclusters: []\nusers: null\nextensions: [{name: x}]\ncontexts:\n- name: demo\n  context: {cluster: old}\n"
	once, err := Merge([]byte(existing), []byte(fresh))
	if err != nil {
		t.Fatal(err)
	}
	twice, err := Merge(once, []byte(fresh))
	if diff := cmp.Diff(string(once), string(twice)); err != nil || diff != "" {
		t.Errorf("%v (-once +twice):\n%s", err, diff)
	}
	want := tree(t, []byte(fresh)).(map[string]any)
	delete(want, "apiVersion")
	want["extensions"] = []any{map[string]any{"name": "x"}}
	if diff := cmp.Diff(any(want), tree(t, once)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	rest, err := Remove(twice, "demo")
	if err != nil || strings.Contains(string(rest), "demo") || !strings.Contains(string(rest), "extensions") {
		t.Errorf("removed: %v\n%s", err, rest)
	}
	if _, err := Remove(rest, "demo"); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed again: got %v, want ErrNotFound", err)
	}
}

// TestRemove: what belongs to the cluster goes by whatever name, and nothing else.
func TestRemove(t *testing.T) {
	const existing = `clusters: [{name: demo}, {name: work}]
users: [{name: both}, {name: admin@demo}, {name: demo}]
contexts:
- {name: one, context: {cluster: demo, user: admin@demo}}
- {name: two, context: {cluster: demo, user: both}}
- {name: demo, context: {cluster: work, user: both}}
current-context: two
`
	const want = `clusters: [{name: work}]
users: [{name: both}, {name: demo}]
contexts:
- {name: demo, context: {cluster: work, user: both}}
current-context: ""
`
	got, err := Remove([]byte(existing), "demo")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tree(t, []byte(want)), tree(t, got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWrongInput(t *testing.T) {
	for _, existing := range []string{"[", "- a\n", "text", "kind: Pod\n"} {
		if _, err := Merge([]byte(existing), []byte(fresh)); err == nil {
			t.Errorf("merge into %q: no error", existing)
		}
		if _, err := Remove([]byte(existing), "demo"); err == nil {
			t.Errorf("remove from %q: no error", existing)
		}
	}
	if _, err := Merge(nil, []byte("kind: Pod")); err == nil {
		t.Error("merge of no kubeconfig: no error")
	}
}

// FuzzMerge: whatever the user's file is, it is refused, or stays readable and
// merging again changes nothing.
func FuzzMerge(f *testing.F) {
	f.Add([]byte(fresh))
	f.Add([]byte("clusters: {a: b}\nusers: [1, [2], {name: [3]}]\n? [x]\n: y\n"))
	f.Add([]byte("a: &x [1]\nclusters: *x\n"))
	f.Fuzz(func(t *testing.T, existing []byte) {
		once, err := Merge(existing, []byte(fresh))
		if err != nil {
			return
		}
		twice, err := Merge(once, []byte(fresh))
		if err != nil {
			t.Fatalf("%v in\n%s", err, once)
		}
		if diff := cmp.Diff(string(once), string(twice)); diff != "" {
			t.Errorf("(-once +twice):\n%s", diff)
		}
		if _, err := Remove(twice, "demo"); err != nil {
			t.Errorf("remove: %v", err)
		}
	})
}
