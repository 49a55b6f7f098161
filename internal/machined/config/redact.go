package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Redact returns documents with every secret replaced by "[redacted]". The documents need not be valid, but must be YAML. What this release does not know,
// a kind, a field or another form of one, may be a secret of another release, which the node goes back from: all of it is replaced. Comments stay: whoever
// writes a secret into one shows it.
func Redact(data []byte) ([]byte, error) {
	return edit(data, func(doc *yaml.Node, fields []Field) {
		if fields == nil {
			redactAll(doc)
			return
		}
		header := []Field{{Name: "apiVersion", Type: TypeText}, {Name: "kind", Type: TypeText}}
		redactObject(doc, slices.Concat(header, fields))
	})
}

// redactObject replaces every value of a mapping but those of fields that are known, and no secrets.
func redactObject(node *yaml.Node, fields []Field) {
	if node.Kind != yaml.MappingNode {
		redactAll(node)
		return
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		at := slices.IndexFunc(fields, func(f Field) bool { return f.Name == node.Content[i].Value })
		if at < 0 {
			redactAll(node.Content[i+1])
			continue
		}
		redactField(node.Content[i+1], fields[at])
	}
}

// redactField is redactObject for the value of a field.
func redactField(value *yaml.Node, f Field) {
	switch {
	case isNull(value) && !f.Secret:
		value.Value = "null" // the encoder may write nothing at all as an empty text
	case f.Secret, f.List != (value.Kind == yaml.SequenceNode):
		redactAll(value)
	case f.List:
		f.List = false
		for _, item := range value.Content {
			redactField(item, f)
		}
	case f.Type == TypeObject:
		redactObject(value, f.Fields)
	case f.Type == TypeMap && value.Kind == yaml.MappingNode:
		redactMap(value)
	case value.Kind != yaml.ScalarNode:
		redactAll(value)
	}
}

// redactMap leaves the texts of a mapping whose names are free.
func redactMap(node *yaml.Node) {
	for i := 1; i < len(node.Content); i += 2 {
		if node.Content[i].Kind != yaml.ScalarNode {
			redactAll(node.Content[i])
		}
	}
}

// Restore puts the secrets of stored documents into the places where data has "[redacted]", so that documents that were read can be changed and given
// back. A place that has none in stored is left: Parse refuses it there. An item of a list is known by the texts in it that are no secrets, not by its
// place: a password stays with the host and the authority that it was given for, or whoever changes these would be sent it.
func Restore(data, stored []byte) ([]byte, error) {
	secrets := map[string]*yaml.Node{}
	_, err := edit(stored, func(doc *yaml.Node, fields []Field) {
		eachSecret(doc, fields, titleOf(doc), byTexts, func(path string, value *yaml.Node) { secrets[path] = value })
	})
	if err != nil {
		return nil, fmt.Errorf("read the stored configuration: %w", err)
	}
	return edit(data, func(doc *yaml.Node, fields []Field) {
		eachSecret(doc, fields, titleOf(doc), byTexts, func(path string, value *yaml.Node) {
			if from := secrets[path]; from != nil && value.Kind == yaml.ScalarNode && value.Value == redacted {
				value.Value, value.Style, value.Tag = from.Value, from.Style, from.Tag
			}
		})
	})
}

// ChangedSecrets returns the paths of the secret fields in which two configurations differ, in the order of the second; those that only the first
// has come last. An item of a list is known by its place.
func ChangedSecrets(from, to []byte) ([]string, error) {
	before, order, err := secretsOf(from)
	if err != nil {
		return nil, err
	}
	after, paths, err := secretsOf(to)
	if err != nil {
		return nil, err
	}
	for _, path := range order {
		if _, ok := after[path]; !ok {
			paths = append(paths, path)
		}
	}
	var changed []string
	for _, path := range paths {
		if before[path] != after[path] {
			changed = append(changed, path)
		}
	}
	return changed, nil
}

// GivenSecrets returns the paths of the secret fields for which documents, or a patch, bring something else than "[redacted]". An item of a list is known by
// its place.
func GivenSecrets(data []byte) ([]string, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, nil
	}
	var given []string
	_, err := edit(data, func(doc *yaml.Node, fields []Field) {
		eachSecret(doc, fields, kindOf(doc), byPlace, func(path string, value *yaml.Node) {
			if value.Kind != yaml.ScalarNode || value.Value != redacted {
				given = append(given, path)
			}
		})
	})
	return given, err
}

// secretsOf returns the secret texts of documents by their path, and the paths in their order.
func secretsOf(data []byte) (texts map[string]string, order []string, err error) {
	texts = map[string]string{}
	_, err = edit(data, func(doc *yaml.Node, fields []Field) {
		eachSecret(doc, fields, titleOf(doc), byPlace, func(path string, value *yaml.Node) {
			texts[path] = value.Value
			order = append(order, path)
		})
	})
	return texts, order, err
}

// edit applies do to each document of data that is a mapping, with the fields of its kind, and writes them again. Documents that are empty are left out.
func edit(data []byte, do func(doc *yaml.Node, fields []Field)) ([]byte, error) {
	fields := map[string][]Field{}
	for _, d := range Documents() {
		fields[d.Kind] = d.Fields
	}
	in := yaml.NewDecoder(bytes.NewReader(data))
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	for {
		var doc yaml.Node
		err := in.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			line, problem := syntaxError(err)
			return nil, Errors{{File: "configuration", Line: line, Problem: problem + ", expected YAML"}}
		}
		if len(doc.Content) != 1 || isNull(doc.Content[0]) {
			continue
		}
		do(doc.Content[0], fields[kindOf(doc.Content[0])])
		if err := enc.Encode(&doc); err != nil {
			return nil, fmt.Errorf("write configuration: %w", err)
		}
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	return out.Bytes(), nil
}

// itemName is what an item of a list is called in a path.
type itemName func(place int, item *yaml.Node, fields []Field) string

func byPlace(place int, _ *yaml.Node, _ []Field) string { return strconv.Itoa(place) }

// byTexts names an item by all of its own texts that are no secrets, in the order of the fields. Secrets are sealed for such names (sealed.go): they stay as they are.
func byTexts(_ int, item *yaml.Node, fields []Field) string {
	var texts []string
	for _, f := range fields {
		if v := valueOf(item, f.Name); v != nil && f.Type == TypeText && !f.Secret && !f.List {
			texts = append(texts, f.Name+"="+strconv.Quote(v.Value))
		}
	}
	return strings.Join(texts, " ")
}

// eachSecret calls do for the value of each secret field of a mapping, with its path.
func eachSecret(node *yaml.Node, fields []Field, path string, name itemName, do func(path string, value *yaml.Node)) {
	if node.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		for _, f := range fields {
			if f.Name != node.Content[i].Value {
				continue
			}
			value, at := node.Content[i+1], path+"."+f.Name
			switch {
			case f.Secret:
				do(at, value)
			case f.List:
				for n, item := range value.Content {
					eachSecret(item, f.Fields, at+"["+name(n, item, f.Fields)+"]", name, do)
				}
			default:
				eachSecret(value, f.Fields, at, name, do)
			}
		}
	}
}

// redactAll replaces every value below a node.
func redactAll(node *yaml.Node) {
	switch node.Kind {
	case yaml.ScalarNode:
		node.SetString(redacted)
	case yaml.MappingNode:
		for i := 1; i < len(node.Content); i += 2 {
			redactAll(node.Content[i])
		}
	case yaml.SequenceNode:
		for _, item := range node.Content {
			redactAll(item)
		}
	case yaml.AliasNode:
		*node = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: redacted}
	}
}
