package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/machined/config"
)

// documents are the rows of a kind of document of which there may be several. They are told apart by their names: one with another name is another. A
// change is that of one document, such as Dataset[tank/data].properties; one that comes or goes is a change of its own, such as Dataset[tank/data].
type documents[D any] struct {
	kind string
	list func(*config.Config) *[]D
	name func(D) string
}

// rowOf is the path of the row that a change is from: that of its field without the name of the document.
func rowOf(field string) string {
	kind, rest, several := strings.Cut(field, "[")
	if !several {
		return field
	}
	// A name has no bracket.
	_, path, _ := strings.Cut(rest, "]")
	if path == "" {
		path = ".name"
	}
	return kind + path
}

// names is the row of documents that come and go.
func (s documents[D]) names() field {
	return field{path: s.kind + ".name", when: "live: one of another name is another", changes: func(from, to *config.Config) []Change {
		var out []Change
		for _, pair := range [][2]*config.Config{{from, to}, {to, from}} {
			for _, d := range *s.list(pair[1]) {
				if s.find(pair[0], s.name(d)) == nil {
					out = append(out, Change{Field: fmt.Sprintf("%s[%s]", s.kind, s.name(d)), Effect: Live})
				}
			}
		}
		return out
	}}
}

// live is the row of a field that can be changed at once.
func (s documents[D]) live(path string, value func(D) any) field {
	return s.fixed(path, value, nil, nil)
}

// fixed is the row of a field of which a node cannot make some changes: why says the reason, and restore gives a document the field of another.
func (s documents[D]) fixed(path string, value func(D) any, why func(from, to D) string, restore func(to *D, from D)) field {
	f := field{path: s.kind + "." + path}
	f.changes = func(from, to *config.Config) []Change {
		var out []Change
		for _, d := range *s.list(to) {
			old := s.find(from, s.name(d))
			if old == nil || same(value(*old), value(d)) {
				continue
			}
			c := Change{Field: fmt.Sprintf("%s[%s].%s", s.kind, s.name(d), path), Effect: Live}
			if why != nil {
				c.Why = why(*old, d)
			}
			if c.Why != "" {
				c.Effect = Never
			}
			out = append(out, c)
		}
		return out
	}
	if why == nil {
		return f
	}
	f.when = "never: declare another"
	f.keep = func(to, from *config.Config) {
		list := slices.Clone(*s.list(to))
		for i := range list {
			if old := s.find(from, s.name(list[i])); old != nil && why(*old, list[i]) != "" {
				restore(&list[i], *old)
			}
		}
		*s.list(to) = list
	}
	return f
}

// find returns the document of a name, or nil.
func (s documents[D]) find(c *config.Config, name string) *D {
	list := *s.list(c)
	i := slices.IndexFunc(list, func(d D) bool { return s.name(d) == name })
	if i < 0 {
		return nil
	}
	return &list[i]
}
