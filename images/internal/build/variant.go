package build

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/semver"

	"github.com/cyvive/cyvive/images/internal/tree"
)

// Variant says in what an image differs from what the sources say: for tests of
// upgrades, which need other versions, and images that are no good.
type Variant struct {
	// Version takes the place of the one in the file VERSION.
	Version string
	// Append goes behind the kernel's command line.
	Append string
	// Drop names files that are left out of the root, Put files that take the
	// place of others in it, by path.
	Drop []string
	Put  map[string]string
	// Aside is a directory for the results of steps that are not in the cache yet.
	// Empty, they go into the cache, and others out of it.
	Aside string
}

// flags are those of mkimage that make the variant.
func (v Variant) flags() []string {
	var words []string
	add := func(flag, value string) {
		if value != "" {
			words = append(words, flag, shellQuote(value))
		}
	}
	add("--version", v.Version)
	add("--append", v.Append)
	for _, name := range v.Drop {
		add("--drop", name)
	}
	for _, name := range slices.Sorted(maps.Keys(v.Put)) {
		add("--put", name+"="+v.Put[name])
	}
	add("--aside", v.Aside)
	return words
}

// shellQuote makes one word of the shell, for a person to copy.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// versions returns the version of the image and its floor, the oldest version
// that a node of it may be taken to.
func versions(o Options) (version, floor string, err error) {
	text := map[string]string{}
	for _, name := range []string{"VERSION", "FLOOR"} {
		data, err := os.ReadFile(filepath.Join(o.Images, name))
		if err != nil {
			return "", "", fmt.Errorf("read version: %w", err)
		}
		text[name] = strings.TrimSpace(string(data))
	}
	version, floor = text["VERSION"], text["FLOOR"]
	if o.Version != "" {
		version = o.Version
	}
	for _, v := range []string{version, floor} {
		if !semver.IsValid("v" + v) {
			return "", "", fmt.Errorf("read version: %q is not of the form 1.2.3", v)
		}
	}
	if semver.Compare("v"+version, "v"+floor) < 0 {
		return "", "", fmt.Errorf("read version: %s is older than %s of the file FLOOR, to which a node may be taken back", version, floor)
	}
	return version, floor, nil
}

// change makes the variant's root of the usual one. A path that is not there is
// an error: a test that took nothing away would show nothing.
func (v Variant) change(t *tree.Tree) error {
	for _, name := range v.Drop {
		if e := t.Get(name); e == nil || e.Kind == tree.Dir {
			return fmt.Errorf("drop %s: there is no such file in the root", name)
		}
		for _, p := range t.Paths() {
			if e := t.Get(p); e.Kind == tree.Link && e.Target == tree.Clean(name) {
				return fmt.Errorf("drop %s: %s is another name of it", name, p)
			}
		}
		t.Remove(name)
	}
	for _, name := range slices.Sorted(maps.Keys(v.Put)) {
		e := t.Get(name)
		if e == nil || e.Kind != tree.File {
			return fmt.Errorf("put %s: there is no such file in the root", name)
		}
		if _, err := os.Stat(v.Put[name]); err != nil {
			return fmt.Errorf("put %s: %w", name, err)
		}
		t.Copy(name, e.Mode, v.Put[name])
	}
	return nil
}
