package config

import (
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/cyvive/cyvive/internal/size"
)

func (o *object) dataset() Dataset {
	d := Dataset{Name: o.requiredText("name", datasetRules, isDatasetName)}
	o.inner("volume", func(f *object) {
		d.Volume = &Volume{
			SizeBytes:  f.requiredSize("size", sizeExpected+", at least 1MiB", func(n uint64) bool { return n >= 1<<20 && anySize(n) }),
			BlockBytes: f.size("blockSize", blockExpected, isBlock),
			Sparse:     f.boolean("sparse"),
		}
	})
	if d.Volume != nil && d.Volume.BlockBytes != 0 && d.Volume.SizeBytes%d.Volume.BlockBytes != 0 {
		o.fail("volume", "a size of %s is not in whole blocks of %s", size.Text(d.Volume.SizeBytes), size.Text(d.Volume.BlockBytes))
	}
	o.inner("properties", func(f *object) { d.Properties = f.properties(d.Volume != nil) })
	d.UserProperties = o.userProperties("userProperties")
	return d
}

// properties reads native properties by the table.
func (o *object) properties(volume bool) map[string]string {
	out := map[string]string{}
	for _, p := range properties() {
		text := o.text(p.name, p.expected(), func(s string) bool {
			_, ok := p.check(s)
			return ok
		})
		if text == "" {
			continue
		}
		if volume && !p.volume {
			o.fail(p.name, "is a property of file systems, expected none of them on a volume")
			continue
		}
		out[p.name], _ = p.check(text)
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// userProperties reads a mapping of texts.
func (o *object) userProperties(name string) map[string]string {
	node := o.take(name)
	if node == nil {
		return nil
	}
	path := o.field(name)
	if o.d.object(node, path) == nil {
		return nil
	}
	out := map[string]string{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		at := path + "." + printable(key.Value)
		if key.Tag != "!!str" || value.Kind == yaml.AliasNode || value.Anchor != "" {
			continue // it has been told
		}
		switch {
		case !isUserName(key.Value):
			o.d.fail(key.Line, at, "not the name of a user property, expected small letters, digits and -_. with a colon, such as org.example:owner, "+
				"and not one of the node's own (%s…)", ownNames)
		case value.Kind != yaml.ScalarNode || isNull(value):
			o.d.fail(value.Line, at, "got %s, expected a text", describe(value))
		case !isUserValue(value.Value):
			o.d.fail(value.Line, at, "got %s, expected at most %d printable characters of ASCII", quote(value.Value), maxUserValue)
		default:
			out[key.Value] = value.Value
		}
	}
	if len(out) > maxUserProperties {
		o.fail(name, "got %d user properties, expected at most %d", len(out), maxUserProperties)
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// trees reads a list of datasets with what is below them or, where there is a choice, without.
func (o *object) trees(name string, choice bool) []DatasetTree {
	const expected = "a mapping with the name of a dataset"
	if o.require(name, "a list, each item "+expected) == nil {
		return nil
	}
	var out []DatasetTree
	o.list(name, expected, func(node *yaml.Node, path string) {
		f := o.d.object(node, path)
		if f == nil {
			return
		}
		t := DatasetTree{Name: f.requiredText("name", datasetRules, isDatasetName), Recursive: true}
		if choice {
			t.Recursive = f.booleanOr("recursive", defaultRecursive)
		}
		t.Exclude = texts(f, "exclude", datasetRules, func(s string) (string, bool) { return s, isDatasetName(s) })
		for i, e := range t.Exclude {
			if t.Name != "" && (e == t.Name || !isWithin(e, t.Name)) {
				o.d.fail(f.values["exclude"].Content[i].Line, fmt.Sprintf("%s.exclude[%d]", path, i), "got %q, expected a dataset below %s", e, t.Name)
			}
		}
		if !t.Recursive && len(t.Exclude) > 0 {
			f.fail("exclude", "nothing below %s is taken, since it is not recursive; expected one or the other", t.Name)
		}
		out = append(out, t)
		f.done()
	})
	if n := o.values[name]; len(out) == 0 && n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		o.fail(name, "is empty, expected at least one item")
	}
	for i, t := range out {
		for _, other := range out[:i] {
			if t.Name != "" && other.Name != "" && (t.Name == other.Name || other.covers(t.Name) || t.covers(other.Name)) {
				o.fail(name, "%s is given twice, by itself or below %s", t.Name, other.Name)
			}
		}
	}
	return out
}

// covers says that a dataset is the tree's, or in it.
func (t DatasetTree) covers(dataset string) bool {
	if t.Name == dataset {
		return true
	}
	if !t.Recursive || !isWithin(dataset, t.Name) {
		return false
	}
	for _, e := range t.Exclude {
		if isWithin(dataset, e) {
			return false
		}
	}
	return true
}
