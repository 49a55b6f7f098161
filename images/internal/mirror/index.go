package mirror

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/cyvive/cyvive/images/internal/deb"
	"github.com/cyvive/cyvive/images/internal/lock"
)

// Candidate is a package of an index: what the lock file would hold of it,
// and what it needs.
type Candidate struct {
	lock.Package
	// Depends is a list of needs, each a list of alternatives by name.
	// Version constraints are left out: within one release any version that
	// the archive offers satisfies them, and the newest is taken.
	Depends  [][]string
	Provides []string
}

// Index maps a package name to its newest candidate, and a virtual name to
// the packages that provide it.
type Index struct {
	Packages map[string]Candidate
	Provided map[string][]string
}

// NewIndex returns an empty index.
func NewIndex() *Index {
	return &Index{Packages: map[string]Candidate{}, Provided: map[string][]string{}}
}

// Add reads a Packages file of archive into the index. The newer version
// wins.
func (x *Index) Add(archive string, r io.Reader) error {
	return deb.ReadParagraphs(r, func(p deb.Paragraph) error {
		size, err := strconv.ParseInt(p["Size"], 10, 64)
		if err != nil {
			return fmt.Errorf("read package %q: field Size: %w", p["Package"], err)
		}
		c := Candidate{
			Package: lock.Package{
				Name: p["Package"], Version: p["Version"], Arch: p["Architecture"],
				Archive: archive, Path: p["Filename"], SHA256: p["SHA256"], Size: size,
			},
			Depends: append(parseRelation(p["Pre-Depends"]), parseRelation(p["Depends"])...),
		}
		for _, alt := range parseRelation(p["Provides"]) {
			c.Provides = append(c.Provides, alt...)
		}
		if old, ok := x.Packages[c.Name]; ok {
			order, err := deb.CompareVersions(old.Version, c.Version)
			if err != nil {
				return fmt.Errorf("read package %q: field Version: %w", c.Name, err)
			}
			if order >= 0 {
				return nil
			}
		}
		x.Packages[c.Name] = c
		for _, v := range c.Provides {
			x.Provided[v] = append(x.Provided[v], c.Name)
		}
		return nil
	})
}

// parseRelation reads a relationship field (deb-control(5)) down to names.
func parseRelation(field string) [][]string {
	var out [][]string
	for need := range strings.SplitSeq(field, ",") {
		var alternatives []string
		for alt := range strings.SplitSeq(need, "|") {
			name, _, _ := strings.Cut(strings.TrimSpace(alt), " ")
			name, _, _ = strings.Cut(name, "(")
			name, _, _ = strings.Cut(name, ":")
			if name != "" {
				alternatives = append(alternatives, name)
			}
		}
		if len(alternatives) > 0 {
			out = append(out, alternatives)
		}
	}
	return out
}

// Resolve returns the wanted packages and everything they depend on, save
// the names in without, which stay out together with what only they need.
func (x *Index) Resolve(wanted []string, without map[string]bool) ([]lock.Package, error) {
	seen := map[string]bool{}
	var out []lock.Package
	var visit func(name, from string) error
	visit = func(name, from string) error {
		if seen[name] || without[name] {
			return nil
		}
		c, ok := x.Packages[name]
		if !ok {
			return fmt.Errorf("resolve %s (needed by %s): no such package in the archive", name, from)
		}
		seen[name] = true
		out = append(out, c.Package)
		for _, need := range c.Depends {
			pick, ok := x.pick(need, seen, without)
			if !ok {
				return fmt.Errorf("resolve %s: nothing satisfies %q", name, strings.Join(need, " | "))
			}
			if err := visit(pick, name); err != nil {
				return err
			}
		}
		return nil
	}
	for _, w := range wanted {
		if err := visit(w, "the image"); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// pick chooses an alternative: one that is there already or left out by
// will, else the first that exists, else the first provider of a virtual one.
func (x *Index) pick(need []string, seen, without map[string]bool) (string, bool) {
	for _, n := range need {
		if seen[n] || without[n] {
			return n, true
		}
		for _, p := range x.Provided[n] {
			if seen[p] || without[p] {
				return p, true
			}
		}
	}
	for _, n := range need {
		if _, ok := x.Packages[n]; ok {
			return n, true
		}
		if p := x.Provided[n]; len(p) > 0 {
			return p[0], true
		}
	}
	return "", false
}
