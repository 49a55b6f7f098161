package kmod

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// index is what modules.dep, modules.builtin and modules.softdep say. Names
// have '_' for '-', as the kernel has it.
type index struct {
	files   map[string]string   // module → file, relative to the modules directory
	deps    map[string][]string // module → modules it needs, the last one first to be loaded
	pre     map[string][]string // module → modules or aliases to load first if they exist
	builtin map[string]bool
}

// normal is the kernel's spelling of a module's name.
func normal(name string) string { return strings.ReplaceAll(name, "-", "_") }

// moduleName is the module in a file such as kernel/fs/ext4/ext4.ko.xz.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return normal(name)
}

// readIndex reads the files in fsys. Only modules.dep must be there.
func readIndex(fsys fs.FS) (*index, error) {
	x := &index{
		files: map[string]string{}, deps: map[string][]string{},
		pre: map[string][]string{}, builtin: map[string]bool{},
	}
	if err := eachLine(fsys, "modules.dep", x.addDep); err != nil {
		return nil, err
	}
	for name, add := range map[string]func(string) error{
		"modules.builtin": x.addBuiltin, "modules.softdep": x.addSoftdep,
	} {
		if err := eachLine(fsys, name, add); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return x, nil
}

// addBuiltin takes a file name.
func (x *index) addBuiltin(line string) error {
	x.builtin[moduleName(line)] = true
	return nil
}

// addDep takes "file: file …".
func (x *index) addDep(line string) error {
	file, rest, ok := strings.Cut(line, ":")
	if !ok || file == "" {
		return fmt.Errorf("%.80q is not of the form FILE: FILES", line)
	}
	name := moduleName(file)
	x.files[name] = file
	for _, dep := range strings.Fields(rest) {
		x.deps[name] = append(x.deps[name], moduleName(dep))
	}
	return nil
}

// addSoftdep takes "softdep NAME pre: NAMES post: NAMES".
func (x *index) addSoftdep(line string) error {
	words := strings.Fields(line)
	if len(words) < 2 || words[0] != "softdep" {
		return fmt.Errorf("%.80q is not of the form softdep NAME pre: NAMES", line)
	}
	pre := false
	for _, w := range words[2:] {
		switch {
		case w == "pre:":
			pre = true
		case w == "post:":
			pre = false
		case pre:
			name := normal(words[1])
			x.pre[name] = append(x.pre[name], normal(w))
		}
	}
	return nil
}

// matchAliases returns the modules, each once and in the order of the file,
// whose patterns in modules.alias match one of the aliases.
func matchAliases(fsys fs.FS, aliases []string) ([]string, error) {
	var found []string
	seen := map[string]bool{}
	err := eachLine(fsys, "modules.alias", func(line string) error {
		rest, ok := strings.CutPrefix(line, "alias ")
		at := strings.LastIndexByte(rest, ' ')
		if !ok || at < 1 {
			return fmt.Errorf("%.80q is not of the form alias PATTERN NAME", line)
		}
		pattern, module := rest[:at], normal(rest[at+1:])
		if seen[module] {
			return nil
		}
		for _, a := range aliases {
			if match(pattern, a) {
				seen[module] = true
				found = append(found, module)
				break
			}
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return found, err
}

// eachLine calls f for the lines of a file that are neither empty nor comments.
func eachLine(fsys fs.FS, name string, f func(string) error) error {
	file, err := fsys.Open(name)
	if err != nil {
		return fmt.Errorf("read module index: %w", err)
	}
	defer file.Close()
	in := bufio.NewReaderSize(file, 64<<10)
	for n := 1; ; n++ {
		raw, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return fmt.Errorf("read module index: %s:%d: line is too long", name, n)
		}
		if line := bytes.TrimSpace(raw); len(line) > 0 && line[0] != '#' {
			if err := f(string(line)); err != nil {
				return fmt.Errorf("read module index: %s:%d: %w", name, n, err)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read module index: %s: %w", name, err)
		}
	}
}
