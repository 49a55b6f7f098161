package build

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/images/internal/programs"
	"github.com/cyvive/cyvive/images/internal/tree"
)

// TestDefinitions takes those of the module that the image takes them of.
func TestDefinitions(t *testing.T) {
	dir, err := programs.ModuleDir(t.Context(), "../../"+kubernetesDir, definitionsModule)
	if err != nil {
		t.Fatal(err)
	}
	definitions, err := readDefinitions(dir)
	if err != nil {
		t.Fatal(err)
	}
	b := &builder{results: results{definitions: definitions}}
	root := tree.New()
	if err := b.addDefinitions(root); err != nil {
		t.Fatal(err)
	}
	const at = cyviveDir + "/definitions/"
	want := []string{
		"volumegroupsnapshotclasses.groupsnapshot.storage.k8s.io", "volumegroupsnapshotcontents.groupsnapshot.storage.k8s.io",
		"volumegroupsnapshots.groupsnapshot.storage.k8s.io", "volumesnapshotclasses.snapshot.storage.k8s.io",
		"volumesnapshotcontents.snapshot.storage.k8s.io", "volumesnapshots.snapshot.storage.k8s.io",
	}
	var got []string
	for _, name := range root.Paths() {
		if root.Get(name).Kind == tree.File {
			got = append(got, strings.TrimSuffix(filepath.Base(name), ".json"))
			if !strings.HasPrefix(name, at) {
				t.Errorf("%s is not in %s", name, at)
			}
		}
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("definitions: got %q, want %q", got, want)
	}
	data, err := root.Get(at + "volumesnapshots.snapshot.storage.k8s.io.json").Content()
	if err != nil || !strings.HasPrefix(string(data), `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition",`) || strings.Contains(string(data), `"acceptedNames"`) {
		t.Errorf("got %.200s, %v", data, err)
	}
	if _, err := readDefinitions(t.TempDir()); err == nil || !strings.Contains(err.Error(), definitionFiles) {
		t.Errorf("a module without definitions: got %v", err)
	}
}

func TestDefinition(t *testing.T) {
	for text, want := range map[string]string{
		"a: [": "yaml", "kind: Secret\nmetadata: {name: a}\nspec: {a: b}": `got a "Secret"`, "kind: CustomResourceDefinition\nspec: {a: b}": "with a name",
		"kind: CustomResourceDefinition\nmetadata: {name: a/b}\nspec: {a: b}": "a/b", "kind: CustomResourceDefinition\nmetadata: {name: a}": "a spec",
	} {
		if _, _, err := definition([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}
