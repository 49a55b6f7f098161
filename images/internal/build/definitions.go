package build

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"

	"github.com/cyvive/cyvive/images/internal/tree"
)

// definitionsModule has the CustomResourceDefinitions of snapshots, as YAML files,
// beside the client by which the CSI controllers use them.
const definitionsModule = "github.com/kubernetes-csi/external-snapshotter/client/v8"

// kubernetesDir is the module, of those in the images directory, that requires it.
const kubernetesDir = "kubernetes"

// definitionFiles are those definitions in the module's directory.
const definitionFiles = "config/crd/*snapshot*.yaml"

// addDefinitions places the definitions for the node's agent (internal/kube).
func (b *builder) addDefinitions(t *tree.Tree) error {
	for name, data := range b.results.definitions {
		t.Write(cyviveDir+"/definitions/"+name, 0o644, data)
	}
	return nil
}

// publishDefinitions puts them beside the programs that tests start.
func (b *builder) publishDefinitions() error {
	if err := os.MkdirAll(b.out("programs/definitions"), 0o755); err != nil {
		return fmt.Errorf("publish definitions: %w", err)
	}
	for name, data := range b.results.definitions {
		err := b.write("programs/definitions/"+name, func(f *os.File) error { _, err := f.Write(data); return err })
		if err != nil {
			return err
		}
	}
	return nil
}

// readDefinitions returns those of the module in dir as JSON, since the node's agent
// reads no YAML of Kubernetes', by the names of their files.
func readDefinitions(dir string) (map[string][]byte, error) {
	files, err := filepath.Glob(filepath.Join(dir, definitionFiles))
	if err != nil {
		return nil, fmt.Errorf("list definitions: %w", err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("list definitions: module %s has no %s", definitionsModule, definitionFiles)
	}
	definitions := map[string][]byte{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read definition: %w", err)
		}
		name, data, err := definition(text)
		if err != nil {
			return nil, fmt.Errorf("read definition %s: %w", filepath.Base(file), err)
		}
		definitions[name+".json"] = data
	}
	return definitions, nil
}

// definition returns the name of a CustomResourceDefinition in YAML, and its JSON.
// It leaves out the status, which is the API server's to write.
func definition(text []byte) (name string, data []byte, err error) {
	var o struct {
		APIVersion string         `json:"apiVersion"`
		Kind       string         `json:"kind"`
		Metadata   map[string]any `json:"metadata"`
		Spec       map[string]any `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &o); err != nil {
		return "", nil, err
	}
	name, _ = o.Metadata["name"].(string)
	if o.Kind != "CustomResourceDefinition" || name == "" || filepath.Base(name) != name || len(o.Spec) == 0 {
		return "", nil, fmt.Errorf("got a %q of name %q, expected a CustomResourceDefinition with a name and a spec", o.Kind, name)
	}
	data, err = json.Marshal(o)
	return name, data, err
}
