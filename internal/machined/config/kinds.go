package config

import (
	"slices"

	"go.yaml.in/yaml/v3"
)

// allKinds are the kinds of documents, in the order of Documents.
func allKinds() []string {
	return []string{"Machine", "Network", "Cluster", "Registries", "Pool", "Dataset", "SnapshotSchedule", "ReplicationJob"}
}

// kinds names them for error texts.
func kinds() string { return oneOf(allKinds()) }

func isKind(s string) bool { return slices.Contains(allKinds(), s) }

// isMany says that there may be several documents of a kind, which have different names.
func isMany(kind string) bool {
	return isKind(kind) && !slices.Contains([]string{"Machine", "Network", "Cluster", "Registries"}, kind)
}

// kindOf looks for the kind of a document before it is read, for the paths of its mistakes; it is empty if there is none that is known.
func kindOf(node *yaml.Node) string {
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == "kind" && isKind(node.Content[i+1].Value) {
			return node.Content[i+1].Value
		}
	}
	return ""
}

// titleOf tells a document from all others: its kind and, where there may be several, its name.
func titleOf(node *yaml.Node) string {
	kind := kindOf(node)
	if !isMany(kind) {
		return kind
	}
	name := ""
	if v := valueOf(node, "name"); v != nil && v.Kind == yaml.ScalarNode {
		name = v.Value
	}
	return kind + "[" + name + "]"
}
