package config

import (
	"errors"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
)

// PatchFile is the file of mistakes of a patch that Merge cannot read.
const PatchFile = "patch"

// Merge applies the documents of a patch to those of base, and returns the result, which need not be valid.
//
// A document of the patch goes onto the one of the same kind and, where there may be several, name; or it is added. Mappings are merged field by field, and
// null removes a field. Lists are replaced, but for those whose items have a name: there an item of the patch goes onto the one of the same name, or is
// added, and {name: x, $patch: delete} removes one. A document with $patch: delete is removed. (These are the rules of Kubernetes' strategic merge patch.)
func Merge(base, patch []byte) ([]byte, error) {
	patches := map[string]*yaml.Node{}
	var order []string
	var twice Errors
	_, err := edit(patch, func(doc *yaml.Node, _ []Field) {
		title := titleOf(doc)
		if first := patches[title]; first != nil {
			twice = append(twice, &Error{
				File: PatchFile, Line: doc.Line, Field: kindOf(doc), Problem: fmt.Sprintf("second document for %s, expected only the one on line %d", title, first.Line),
			})
			return
		}
		patches[title], order, twice = doc, append(order, title), slices.Concat(twice, repeated(doc, kindOf(doc)))
	})
	if err != nil {
		var all Errors
		errors.As(err, &all)
		for _, e := range all {
			e.File = PatchFile
		}
		return nil, fmt.Errorf("read patch: %w", err)
	}
	if patches[""] != nil {
		return nil, Errors{{File: PatchFile, Line: patches[""].Line, Field: "kind", Problem: "missing or unknown, expected " + kinds()}}
	}
	for _, kind := range allKinds() {
		if doc := patches[kind+"[]"]; doc != nil {
			return nil, Errors{{File: PatchFile, Line: doc.Line, Field: kind + ".name", Problem: "missing, expected the name of the document that is meant"}}
		}
	}
	if len(twice) > 0 {
		return nil, twice
	}
	var removed []string
	merged, err := edit(base, func(doc *yaml.Node, _ []Field) {
		title := titleOf(doc)
		p := patches[title]
		if p == nil {
			return
		}
		delete(patches, title)
		if deletes(p) {
			removed = append(removed, title)
			*doc = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}
			return
		}
		mergeMapping(doc, p)
	})
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	for _, title := range order {
		p := patches[title]
		if p == nil || deletes(p) {
			continue
		}
		text, err := yaml.Marshal(p)
		if err != nil {
			return nil, fmt.Errorf("write configuration: %w", err)
		}
		merged = append(append(merged, "---\n"...), text...)
	}
	if len(removed) > 0 {
		// Once more, so that what was removed leaves no empty document.
		return edit(merged, func(*yaml.Node, []Field) {})
	}
	return merged, nil
}

// maxPathBytes is longer than the path of any field is.
const maxPathBytes = 512

// repeated are the fields that a mapping of a patch, or one below it, gives twice: only one of them could be merged. What lies deeper than any field does is left to
// Parse, which does not know it: with a path for each mapping on the way it would need memory by the square of its depth.
func repeated(node *yaml.Node, path string) Errors {
	if len(path) > maxPathBytes {
		return nil
	}
	var out Errors
	first := map[string]int{}
	for i, below := range node.Content {
		switch {
		case node.Kind != yaml.MappingNode:
			out = append(out, repeated(below, fmt.Sprintf("%s[%d]", path, i))...)
		case i%2 == 1:
			out = append(out, repeated(below, path+"."+printable(node.Content[i-1].Value))...)
		case below.Kind == yaml.ScalarNode && first[below.Value] != 0:
			out = append(out, &Error{
				File: PatchFile, Line: below.Line, Field: path + "." + printable(below.Value), Problem: fmt.Sprintf("given twice, first on line %d", first[below.Value]),
			})
		case below.Kind == yaml.ScalarNode:
			first[below.Value] = below.Line
		}
	}
	return out
}

const patchKey = "$patch"

// deletes says that a mapping has $patch: delete.
func deletes(node *yaml.Node) bool {
	v := valueOf(node, patchKey)
	return v != nil && v.Value == "delete"
}

// valueOf returns the value of a mapping's field, or nil.
func valueOf(node *yaml.Node, name string) *yaml.Node {
	if node.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == name {
			return node.Content[i+1]
		}
	}
	return nil
}

func mergeMapping(base, patch *yaml.Node) {
	for i := 0; i+1 < len(patch.Content); i += 2 {
		key, value := patch.Content[i], patch.Content[i+1]
		old := valueOf(base, key.Value)
		switch {
		case isNull(value):
			removeField(base, key.Value)
		case old == nil:
			base.Content = append(base.Content, key, value)
		case old.Kind == yaml.MappingNode && value.Kind == yaml.MappingNode:
			mergeMapping(old, value)
		case named(old) && named(value):
			mergeList(old, value)
		default:
			*old = *value
		}
	}
}

func removeField(node *yaml.Node, name string) {
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == name {
			node.Content = append(node.Content[:i:i], node.Content[i+2:]...)
			return
		}
	}
}

// named says that a node is a list whose items all have a name.
func named(node *yaml.Node) bool {
	if node.Kind != yaml.SequenceNode || len(node.Content) == 0 {
		return false
	}
	for _, item := range node.Content {
		if valueOf(item, "name") == nil {
			return false
		}
	}
	return true
}

func mergeList(base, patch *yaml.Node) {
	for _, item := range patch.Content {
		at := -1
		for i, old := range base.Content {
			if valueOf(old, "name").Value == valueOf(item, "name").Value {
				at = i
			}
		}
		switch {
		case at >= 0 && deletes(item):
			base.Content = append(base.Content[:at:at], base.Content[at+1:]...)
		case at >= 0:
			mergeMapping(base.Content[at], item)
		case !deletes(item):
			base.Content = append(base.Content, item)
		}
	}
}
