// Package modules finds the kernel modules that a machine's initramfs must
// bring, in a folder /lib/modules/<release> of the host.
package modules

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Tree is a folder of modules. It is never changed, and safe for concurrent use.
type Tree struct {
	Dir     string              // as given to Open
	needs   map[string][]string // file → files it needs, nearest first
	files   map[string]string   // name → file
	builtin map[string]bool
}

// Open reads the lists that depmod(8) and the kernel's build left in dir.
func Open(dir string) (*Tree, error) {
	t := &Tree{Dir: dir}
	dep, err := os.Open(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, fmt.Errorf("read kernel modules: %w", err)
	}
	defer dep.Close()
	if t.needs, t.files, err = parseDependencies(dep); err != nil {
		return nil, fmt.Errorf("read kernel modules: %w", err)
	}
	builtin, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, fmt.Errorf("read kernel modules: %w", err)
	}
	t.builtin = map[string]bool{}
	for line := range strings.Lines(string(builtin)) {
		t.builtin[moduleName(strings.TrimSpace(line))] = true
	}
	return t, nil
}

// parseDependencies reads modules.dep (modules.dep(5)): "file: needed needed".
func parseDependencies(r io.Reader) (needs map[string][]string, files map[string]string, err error) {
	needs, files = map[string][]string{}, map[string]string{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		file, rest, ok := strings.Cut(lines.Text(), ":")
		if name := moduleName(file); !ok || name == "" || name != moduleName(name) {
			return nil, nil, fmt.Errorf("modules.dep: %q has no colon behind a module's file", lines.Text())
		}
		needs[file] = strings.Fields(rest)
		files[moduleName(file)] = file
	}
	return needs, files, lines.Err()
}

// moduleName is a file's name as the kernel has it: without folder and suffix,
// with underscores (modprobe(8)).
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// Closure returns the files of modules and of all they need, as paths below Dir,
// in an order in which they can be loaded. A module that is built into the
// kernel is passed over; one that is not there at all is an error.
func (t *Tree) Closure(names []string) ([]string, error) {
	var order []string
	seen := map[string]bool{}
	var visit func(file string)
	visit = func(file string) {
		if seen[file] {
			return
		}
		seen[file] = true
		for _, needed := range t.needs[file] {
			visit(needed)
		}
		order = append(order, file)
	}
	for _, name := range names {
		name = moduleName(name)
		file, ok := t.files[name]
		switch {
		case ok:
			visit(file)
		case !t.builtin[name]:
			return nil, fmt.Errorf("find kernel module %s: it is not in %s", name, t.Dir)
		}
	}
	return order, nil
}
