package tree

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Kind is what an entry is.
type Kind int

// The kinds of entries. A Link is a hard link to a File.
const (
	Dir Kind = iota
	File
	Symlink
	Link
)

func (k Kind) String() string {
	return [...]string{"dir", "file", "symlink", "link"}[k]
}

// Entry is one file of the tree.
type Entry struct {
	Kind     Kind
	Mode     fs.FileMode // permission bits, and fs.ModeSetuid and the like
	UID, GID int
	// Target is where a Symlink or Link points to.
	Target string
	// Data is a File's content, or else Source is the file that holds it.
	Data   []byte
	Source string
}

// Content returns the content of a File.
func (e *Entry) Content() ([]byte, error) {
	if e.Source == "" {
		return e.Data, nil
	}
	return os.ReadFile(e.Source)
}

// Size returns the length of a File's content in bytes.
func (e *Entry) Size() (int64, error) {
	if e.Source == "" {
		return int64(len(e.Data)), nil
	}
	i, err := os.Stat(e.Source)
	if err != nil {
		return 0, err
	}
	return i.Size(), nil
}

// Tree maps paths to entries. It is used by one goroutine.
type Tree struct{ entries map[string]*Entry }

// New returns a tree with nothing but its root.
func New() *Tree {
	return &Tree{entries: map[string]*Entry{"/": {Kind: Dir, Mode: 0o755}}}
}

// Clean returns name as a path of a tree.
func Clean(name string) string { return path.Clean("/" + name) }

// Get returns the entry at name, or nil.
func (t *Tree) Get(name string) *Entry { return t.entries[Clean(name)] }

// Paths returns all paths, sorted, so that a directory is before its content.
func (t *Tree) Paths() []string { return slices.Sorted(maps.Keys(t.entries)) }

// Put places e at name and makes the directories above it. An entry that is
// there is replaced.
func (t *Tree) Put(name string, e *Entry) {
	name = Clean(name)
	t.MkdirAll(path.Dir(name))
	t.entries[name] = e
}

// Remove takes the entry at name away; other names of a file have to go with it.
func (t *Tree) Remove(name string) { delete(t.entries, Clean(name)) }

// MkdirAll makes directories of mode 0755 owned by root; those that exist
// stay as they are.
func (t *Tree) MkdirAll(names ...string) {
	for _, name := range names {
		for name = Clean(name); t.entries[name] == nil; name = path.Dir(name) {
			t.entries[name] = &Entry{Kind: Dir, Mode: 0o755}
		}
	}
}

// Write places a file of root with the given content.
func (t *Tree) Write(name string, mode fs.FileMode, data []byte) {
	t.Put(name, &Entry{Kind: File, Mode: mode, Data: data})
}

// Copy places a file of root whose content is the file source.
func (t *Tree) Copy(name string, mode fs.FileMode, source string) {
	t.Put(name, &Entry{Kind: File, Mode: mode, Source: source})
}

// Symlink places a symbolic link.
func (t *Tree) Symlink(name, target string) {
	t.Put(name, &Entry{Kind: Symlink, Mode: 0o777, Target: target})
}

// Hardlink places a second name of the file at target.
func (t *Tree) Hardlink(name, target string) error {
	target = Clean(target)
	if e := t.entries[target]; e == nil || e.Kind != File {
		return fmt.Errorf("link %s: %s is no file of the tree", name, target)
	}
	t.Put(name, &Entry{Kind: Link, Target: target})
	return nil
}

// AddDir places the files below dir at name: regular files with mode 0644,
// or 0755 where the owner may execute them, and symbolic links as they are.
func (t *Tree) AddDir(name, dir string) error {
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(p, dir)
		dst := path.Join(name, filepath.ToSlash(rel))
		switch {
		case d.IsDir():
			t.MkdirAll(dst)
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			t.Symlink(dst, target)
		case d.Type().IsRegular():
			i, err := d.Info()
			if err != nil {
				return err
			}
			mode := fs.FileMode(0o644)
			if i.Mode()&0o100 != 0 {
				mode = 0o755
			}
			t.Copy(dst, mode, p)
		default:
			return fmt.Errorf("%s is neither file, directory nor link", p)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("add directory %s: %w", dir, err)
	}
	return nil
}

// Resolve follows symbolic links, in directories too, and returns the path of
// the File or Dir that name stands for, and "" when there is none.
func (t *Tree) Resolve(name string) string {
	const maxLinks = 40
	rest, at := strings.Split(strings.Trim(Clean(name), "/"), "/"), "/"
	for links := 0; len(rest) > 0; {
		next := path.Join(at, rest[0])
		rest = rest[1:]
		e := t.entries[next]
		if e == nil {
			return ""
		}
		switch e.Kind {
		case Symlink:
			if links++; links > maxLinks {
				return ""
			}
			target := e.Target
			if !path.IsAbs(target) {
				target = path.Join(at, target)
			}
			rest = append(strings.Split(strings.Trim(path.Clean(target), "/"), "/"), rest...)
			at = "/"
		case Link:
			if at = e.Target; t.entries[at] == nil {
				return "" // an archive may name what it does not hold
			}
		default:
			at = next
		}
	}
	return at
}
