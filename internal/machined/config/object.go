package config

import (
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// decoder collects the mistakes of one file.
type decoder struct {
	file string
	errs Errors
	// open opens secrets that are sealed; nil opens none.
	open Opener
	// unsure is set when a document's kind could not be told, so that none can be called missing.
	unsure bool
	// network is the Network document, once it was met, and storage are those about storage.
	network *object
	storage storageDocs
}

func (d *decoder) fail(line int, field, format string, args ...any) {
	d.errs = append(d.errs, &Error{File: d.file, Line: line, Field: field, Problem: fmt.Sprintf(format, args...)})
}

// object is one YAML mapping that is being read. Each getter marks its field as known; done reports the rest as unknown.
type object struct {
	d      *decoder
	path   string
	line   int
	values map[string]*yaml.Node
	order  []string
	known  []string
}

// object reads node as a mapping with the given path. It returns nil, with the mistake recorded, when it is none.
func (d *decoder) object(node *yaml.Node, path string) *object {
	if node.Kind != yaml.MappingNode {
		d.fail(node.Line, path, "got %s, expected a mapping", describe(node))
		return nil
	}
	o := &object{d: d, path: path, line: node.Line, values: map[string]*yaml.Node{}}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.Tag != "!!str" {
			d.fail(key.Line, path, "got %s as a field name, expected a plain word", describe(key))
			continue
		}
		name := printable(key.Value)
		if first, twice := o.values[name]; twice {
			d.fail(key.Line, o.field(name), "given twice, first on line %d", first.Line)
			continue
		}
		if value.Kind == yaml.AliasNode || value.Anchor != "" {
			d.fail(value.Line, o.field(name), "anchors and aliases are not allowed, expected the value itself")
			value = &yaml.Node{Kind: 0, Line: value.Line}
		}
		o.values[name] = value
		o.order = append(o.order, name)
	}
	return o
}

func (o *object) field(name string) string {
	if o.path == "" {
		return name
	}
	return o.path + "." + name
}

func (o *object) fail(name string, format string, args ...any) {
	line := o.line
	if node := o.values[name]; node != nil {
		line = node.Line
	}
	o.d.fail(line, o.field(name), format, args...)
}

// take returns the node of a field, or nil if it is absent, null or already reported.
func (o *object) take(name string) *yaml.Node {
	o.known = append(o.known, name)
	node := o.values[name]
	if node == nil || node.Kind == 0 || isNull(node) {
		return nil
	}
	return node
}

// require is take for a field that must be there.
func (o *object) require(name, expected string) *yaml.Node {
	node := o.take(name)
	if present := o.values[name]; node == nil && (present == nil || isNull(present)) {
		o.fail(name, "missing, expected %s", expected)
	}
	return node
}

// scalar returns the text of a scalar field. The value of a secret field is not echoed in the mistake.
func (o *object) scalar(node *yaml.Node, name, expected string) (string, bool) {
	if node == nil {
		return "", false
	}
	if node.Kind != yaml.ScalarNode {
		o.fail(name, "got %s, expected %s", describe(node), expected)
		return "", false
	}
	return node.Value, true
}

func (o *object) text(name, expected string, check func(string) bool) string {
	return o.checked(o.take(name), name, expected, check)
}

func (o *object) requiredText(name, expected string, check func(string) bool) string {
	return o.checked(o.require(name, expected), name, expected, check)
}

func (o *object) checked(node *yaml.Node, name, expected string, check func(string) bool) string {
	text, ok := o.scalar(node, name, expected)
	if !ok {
		return ""
	}
	if !check(text) {
		o.fail(name, "got %s, expected %s", quote(text), expected)
		return ""
	}
	return text
}

func (o *object) boolean(name string) bool {
	node := o.take(name)
	if node == nil {
		return false
	}
	var v bool
	if node.Kind != yaml.ScalarNode || node.Tag != "!!bool" || node.Decode(&v) != nil {
		o.fail(name, "got %s, expected true or false", describe(node))
		return false
	}
	return v
}

// list calls each for every element of a sequence field, with the element's path.
func (o *object) list(name, expected string, each func(node *yaml.Node, path string)) {
	node := o.take(name)
	if node == nil {
		return
	}
	if node.Kind != yaml.SequenceNode {
		o.fail(name, "got %s, expected a list, each item %s", describe(node), expected)
		return
	}
	for i, item := range node.Content {
		path := fmt.Sprintf("%s[%d]", o.field(name), i)
		if item.Kind == yaml.AliasNode || item.Anchor != "" {
			o.d.fail(item.Line, path, "anchors and aliases are not allowed, expected the value itself")
			continue
		}
		each(item, path)
	}
}

// texts reads a list of scalars, each parsed by parse.
func texts[T any](o *object, name, expected string, parse func(string) (T, bool)) []T {
	var out []T
	o.list(name, expected, func(node *yaml.Node, path string) {
		if node.Kind != yaml.ScalarNode {
			o.d.fail(node.Line, path, "got %s, expected %s", describe(node), expected)
			return
		}
		v, ok := parse(node.Value)
		if !ok {
			o.d.fail(node.Line, path, "got %s, expected %s", quote(node.Value), expected)
			return
		}
		out = append(out, v)
	})
	return out
}

// done reports the fields that no getter asked for.
func (o *object) done() {
	known := map[string]bool{}
	for _, name := range o.known {
		known[name] = true
	}
	for _, name := range o.order {
		if known[name] {
			continue
		}
		// In braces, what has no space behind its colon is a name as a whole: a secret in it is not to be shown.
		if field, _, joined := strings.Cut(name, ":"); joined && known[field] {
			o.d.fail(o.values[name].Line, o.field(field), "no space behind its colon, expected one before the value")
			continue
		}
		o.fail(name, "unknown field, expected one of %s", strings.Join(o.known, ", "))
	}
}

func isNull(node *yaml.Node) bool { return node.Kind == yaml.ScalarNode && node.Tag == "!!null" }

// describe names the kind of a node without its content.
func describe(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	switch node.Tag {
	case "!!null":
		return "nothing"
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "true or false"
	}
	return "a text"
}

// keyText is found in a line of PEM, and in 32 bytes as base64 or in hexadecimal.
var keyText = regexp.MustCompile(`[A-Za-z0-9+/]{40}`)

// accountText is found where a host has an account before it, with a password or without.
var accountText = regexp.MustCompile(`:[^@]*@`)

// quote shows a value in a mistake, cut to a readable length. Text that looks like key material, or that may have a password before a host, is not shown even in a
// field that is not secret: it may have been pasted into the wrong one.
func quote(text string) string {
	if strings.Contains(text, "-----") || len(text) > 100 || keyText.MatchString(text) || accountText.MatchString(text) {
		return fmt.Sprintf("a text of %d bytes", len(text))
	}
	return fmt.Sprintf("%q", text)
}

// printable keeps a field name fit for a path in an error.
func printable(name string) string {
	if len(name) > 40 || strings.Contains(name, "-----") {
		return fmt.Sprintf("(a name of %d bytes)", len(name))
	}
	for _, r := range name {
		if r < ' ' || r == 0x7f {
			return fmt.Sprintf("%q", name)
		}
	}
	return name
}
