package vmtest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// baseModules are loaded in every guest: the bus and the devices that the
// runner attaches, and the image's file system. A module that is built into the
// kernel is passed over.
var baseModules = []string{"virtio_pci", "virtio_console", "virtio_blk", "virtio_rng", "erofs"}

// moduleTree is a folder /lib/modules/<release> of the host.
type moduleTree struct {
	dir     string
	needs   map[string][]string // file → files it needs, nearest first
	files   map[string]string   // name → file
	builtin map[string]bool
}

func openModules(dir string) (*moduleTree, error) {
	t := &moduleTree{dir: dir}
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
		if !ok || file == "" {
			return nil, nil, fmt.Errorf("modules.dep: %q has no colon behind a file", lines.Text())
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

// closure returns the files of modules and of all they need, in an order in
// which they can be loaded.
func (t *moduleTree) closure(names []string) ([]string, error) {
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
			return nil, fmt.Errorf("find kernel module %s: it is not in %s", name, t.dir)
		}
	}
	return order, nil
}
