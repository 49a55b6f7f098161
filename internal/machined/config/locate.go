package config

import (
	"bytes"
	"errors"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Given is documents, or a patch, with the name of the file that they are from.
type Given struct {
	Name string
	Data []byte
}

// Locate gives mistakes that [ParseSealed] found with open in made the places that they have in what made was made of by [Restore] and [Merge]: base, and a patch unless it is
// empty. A mistake is the patch's where that gives the field, or where base alone does not have it: then it is told of the part of the patch that is the next
// to the field. Where there is none, of the file as a whole.
func Locate(mistakes Errors, made []byte, base, patch Given, open Opener) {
	p := placer{names: map[*yaml.Node]map[string]*yaml.Node{}, base: documentsOf(base.Data), patch: documentsOf(patch.Data)}
	before := map[string]*Error{}
	if _, err := ParseSealed(base.Name, base.Data, open); err != nil {
		var alone Errors
		errors.As(err, &alone)
		for _, e := range alone {
			field := p.locate(p.base, e)
			for _, key := range []string{field.key(""), field.key(e.Problem)} {
				if before[key] == nil {
					before[key] = e
				}
			}
		}
	}
	documents, inPatch, inBase := documentsOf(made), titled(p.patch), titled(p.base)
	for _, e := range mistakes {
		field := p.locate(documents, e)
		node, whole := p.find(inPatch, field)
		same, other := before[field.key(e.Problem)], before[field.key("")]
		switch {
		case whole && node.Kind == yaml.ScalarNode:
			e.File, e.Line = patch.Name, node.Line
		case same != nil:
			e.File, e.Line, e.Problem = base.Name, same.Line, same.Problem
		case whole:
			e.File, e.Line = patch.Name, node.Line
		case other != nil:
			e.File, e.Line = base.Name, other.Line
		case len(patch.Data) == 0:
			node, _ = p.find(inBase, field)
			e.File, e.Line = base.Name, lineOf(node)
		case node == nil && len(p.patch) == 1:
			e.File, e.Line = patch.Name, p.patch[0].Line
		default:
			e.File, e.Line = patch.Name, lineOf(node)
		}
	}
}

func lineOf(node *yaml.Node) int {
	if node == nil {
		return 0
	}
	return node.Line
}

// documentsOf returns the documents of a stream up to the first that cannot be read.
func documentsOf(data []byte) []*yaml.Node {
	var out []*yaml.Node
	for stream := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var doc yaml.Node
		if stream.Decode(&doc) != nil {
			return out
		}
		if len(doc.Content) == 1 && !isNull(doc.Content[0]) {
			out = append(out, doc.Content[0])
		}
	}
}

// location is where a field is in whatever documents have it: in that of a title, by a path in which the items of a list are told by their names, if they
// have some. The title is empty where no document is known.
type location struct{ title, path string }

// lineNumber is what a problem says of another line.
var lineNumber = regexp.MustCompile(`line \d+`)

// key tells a problem with a field from all others, whatever lines it names.
func (l location) key(problem string) string {
	return l.title + "\x00" + l.path + "\x00" + lineNumber.ReplaceAllString(problem, "line")
}

// placer finds fields.
type placer struct {
	base, patch []*yaml.Node
	// names are what is below a node by its name, of nodes that were looked at.
	names map[*yaml.Node]map[string]*yaml.Node
}

// locate returns where the field of a mistake is that Parse found in documents.
func (p *placer) locate(documents []*yaml.Node, e *Error) location {
	var doc *yaml.Node
	for _, d := range documents {
		if d.Line <= e.Line {
			doc = d
		}
	}
	if doc == nil {
		return location{path: e.Field}
	}
	path, ok := strings.CutPrefix(e.Field, kindOf(doc))
	if path != "" && (!ok || path[0] != '.' && path[0] != '[') {
		path = "." + e.Field
	}
	_, way, left := p.follow(doc, path)
	return location{titleOf(doc), way + left}
}

// find returns the node of a field, and whether it is that of the field itself, or the last on the way there; nil if there is no such document.
func (p *placer) find(documents map[string]*yaml.Node, l location) (node *yaml.Node, whole bool) {
	d := documents[l.title]
	if l.title == "" || d == nil {
		return nil, false
	}
	last, _, left := p.follow(d, l.path)
	return last, left == ""
}

// titled are documents by their titles; of several with the same it is the first.
func titled(documents []*yaml.Node) map[string]*yaml.Node {
	out := map[string]*yaml.Node{}
	for _, d := range documents {
		if title := titleOf(d); out[title] == nil {
			out[title] = d
		}
	}
	return out
}

// follow goes from a node along the path of a field, as far as there are nodes. It returns the last one, the way to it with the names of items, and the rest.
func (p *placer) follow(node *yaml.Node, path string) (last *yaml.Node, way, left string) {
	for path != "" {
		next, step, rest := p.step(node, path)
		if next == nil {
			break
		}
		node, way, path = next, way+step, rest
	}
	return node, way, path
}

// step goes to a field of a mapping, .name, or an item of a list: [2], or ["name"]. It returns nil where there is none.
func (p *placer) step(node *yaml.Node, path string) (next *yaml.Node, step, rest string) {
	switch {
	case node.Kind == yaml.MappingNode && path[0] == '.':
		// Names may have dots and brackets.
		for end := len(path); end > 1; end = strings.LastIndexAny(path[:end], ".[") {
			if next = p.below(node)[path[1:end]]; next != nil {
				return next, path[:end], path[end:]
			}
		}
	case node.Kind == yaml.SequenceNode && path[0] == '[':
		if quoted, err := strconv.QuotedPrefix(path[1:]); err == nil {
			name, _ := strconv.Unquote(quoted)
			step = "[" + quoted + "]"
			return p.below(node)[name], step, strings.TrimPrefix(path, step)
		}
		digits, rest, _ := strings.Cut(path[1:], "]")
		n, err := strconv.Atoi(digits)
		if err != nil || n < 0 || n >= len(node.Content) {
			return nil, "", ""
		}
		next = node.Content[n]
		if name := valueOf(next, "name"); name != nil && p.below(node)[name.Value] == next {
			return next, "[" + strconv.Quote(name.Value) + "]", rest
		}
		return next, "[" + digits + "]", rest
	}
	return nil, "", ""
}

// below returns what is below a node by its name: the values of a mapping or, where all items of a list have names, those with a name of their own.
func (p *placer) below(node *yaml.Node) map[string]*yaml.Node {
	out, known := p.names[node]
	if known {
		return out
	}
	out = map[string]*yaml.Node{}
	p.names[node] = out
	switch {
	case node.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			if name := printable(node.Content[i].Value); out[name] == nil {
				out[name] = node.Content[i+1]
			}
		}
	case named(node):
		for _, item := range node.Content {
			name := valueOf(item, "name").Value
			if _, twice := out[name]; twice {
				item = nil
			}
			out[name] = item
		}
	}
	return out
}
