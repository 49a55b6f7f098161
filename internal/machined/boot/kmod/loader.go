package kmod

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrNoModule is for names that neither a module nor an alias has.
var ErrNoModule = errors.New("no such module")

// Insert gives one module file to the kernel.
type Insert func(file string) error

// Loader loads modules of one directory. Its methods may be called at once;
// they run one after the other.
type Loader struct {
	dir    string
	fsys   fs.FS
	insert Insert

	mu     sync.Mutex
	index  *index
	loaded map[string]bool
	tried  map[string]bool // aliases
	denied map[string]bool
}

// Open reads the index of the running kernel's modules below base
// (/usr/lib/modules).
func Open(base string) (*Loader, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return nil, fmt.Errorf("read kernel version: %w", err)
	}
	dir := filepath.Join(base, unix.ByteSliceToString(u.Release[:]))
	return New(dir, finit)
}

// OpenDir reads the index of the modules in dir, for the running kernel.
func OpenDir(dir string) (*Loader, error) { return New(dir, finit) }

// New reads the index in dir; insert is called with absolute file names.
func New(dir string, insert Insert) (*Loader, error) {
	fsys := os.DirFS(dir)
	x, err := readIndex(fsys)
	if err != nil {
		return nil, err
	}
	return &Loader{
		dir: dir, fsys: fsys, insert: insert, index: x,
		loaded: map[string]bool{}, tried: map[string]bool{}, denied: map[string]bool{},
	}, nil
}

// Deny keeps LoadAliases from loading modules only because their device is
// there. By name, or as a dependency, they are loaded all the same.
func (l *Loader) Deny(modules ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range modules {
		l.denied[normal(m)] = true
	}
}

// Load loads a module by its name or an alias, after all it depends on. One
// that is loaded or built in already is success; an alias loads all modules
// that it matches, and fails only if none could be loaded.
func (l *Loader) Load(name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.index.builtin[normal(name)] {
		return nil
	}
	if _, ok := l.index.files[normal(name)]; ok {
		return l.load(normal(name), nil)
	}
	modules, err := matchAliases(l.fsys, []string{name})
	if err != nil {
		return err
	}
	if len(modules) == 0 {
		return fmt.Errorf("load %s: %w", name, ErrNoModule)
	}
	var errs []error
	for _, m := range modules {
		if err := l.load(m, nil); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) < len(modules) {
		return nil
	}
	return errors.Join(errs...)
}

// LoadAliases loads all modules that match the modalias strings of devices,
// but each alias once only. It returns the modules that were loaded now; the
// error names those that could not be.
func (l *Loader) LoadAliases(aliases []string) ([]string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var fresh []string
	for _, a := range aliases {
		if !l.tried[a] {
			l.tried[a] = true
			fresh = append(fresh, a)
		}
	}
	if len(fresh) == 0 {
		return nil, nil
	}
	modules, err := matchAliases(l.fsys, fresh)
	errs := []error{err}
	var now []string
	for _, m := range modules {
		if l.loaded[m] || l.index.builtin[m] || l.denied[m] {
			continue
		}
		err := l.load(m, nil)
		switch {
		case err == nil:
			now = append(now, m)
		case errors.Is(err, unix.ENODEV):
			// The driver looked, and its device is not there after all.
		default:
			errs = append(errs, err)
		}
	}
	return now, errors.Join(errs...)
}

// load loads a module and what it needs. path holds the modules that wait for
// it, against circles of soft dependencies.
func (l *Loader) load(name string, path []string) error {
	if l.loaded[name] || l.index.builtin[name] {
		return nil
	}
	file, ok := l.index.files[name]
	if !ok {
		return fmt.Errorf("load %s: %w", name, ErrNoModule)
	}
	for _, p := range path {
		if p == name {
			return nil
		}
	}
	path = append(path, name)
	for _, soft := range l.index.pre[name] {
		l.loadSoft(soft, path)
	}
	deps := l.index.deps[name]
	for i := len(deps) - 1; i >= 0; i-- {
		if err := l.load(deps[i], path); err != nil {
			return fmt.Errorf("load %s: %w", name, err)
		}
	}
	if err := l.insert(filepath.Join(l.dir, file)); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load %s: %w", name, err)
	}
	l.loaded[name] = true
	return nil
}

// loadSoft loads what a module asks to be there before it, by name or alias. It may
// fail: the module works without, perhaps slower, or the kernel asks Helper for it.
func (l *Loader) loadSoft(name string, path []string) {
	modules := []string{name}
	if _, ok := l.index.files[name]; !ok && !l.index.builtin[name] {
		modules, _ = matchAliases(l.fsys, []string{name})
	}
	for _, m := range modules {
		_ = l.load(m, path)
	}
}

// finit loads a file by finit_module(2). Compressed files are left to the
// kernel (CONFIG_MODULE_DECOMPRESS, Linux 5.17).
func finit(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := 0
	if !strings.HasSuffix(file, ".ko") {
		flags = unix.MODULE_INIT_COMPRESSED_FILE
	}
	if err := unix.FinitModule(int(f.Fd()), "", flags); err != nil {
		return fmt.Errorf("insert %s: %w", filepath.Base(file), err)
	}
	return nil
}

// Devices returns the modalias of each device below dir (/sys/devices), each
// once. What vanishes while it looks is left out.
func Devices(dir string) []string {
	seen := map[string]bool{}
	var list []string
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() != "modalias" {
			return nil
		}
		raw, err := os.ReadFile(path)
		alias := strings.TrimSpace(string(raw))
		if err == nil && alias != "" && !seen[alias] {
			seen[alias] = true
			list = append(list, alias)
		}
		return nil
	})
	return list
}
