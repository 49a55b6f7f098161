package config

import (
	"slices"

	"go.yaml.in/yaml/v3"
)

// notYet are the kinds that this release reads and checks, but does not take: nothing in it acts on them so far, and a node that took them would keep
// silent about that. The change that has the node act on a kind takes it out of this line, and nothing else has to be done for it here.
func notYet() []string {
	return []string{"Dataset", "SnapshotSchedule"}
}

// allKinds are the kinds of documents, in the order of Documents.
func allKinds() []string {
	return []string{"Machine", "Network", "Cluster", "Pool", "Dataset", "SnapshotSchedule", "ReplicationJob"}
}

// kinds names those that are taken, for error texts.
func kinds() string {
	return oneOf(slices.DeleteFunc(allKinds(), func(k string) bool { return slices.Contains(notYet(), k) }))
}

func isKind(s string) bool { return slices.Contains(allKinds(), s) }

// isMany says that there may be several documents of a kind, which have different names.
func isMany(kind string) bool {
	return isKind(kind) && kind != "Machine" && kind != "Network" && kind != "Cluster"
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
