package kernel

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Set is a directory of modules: /usr/lib/modules/<release>. Keys are paths
// relative to it.
type Set struct {
	Release string
	// Modules maps a module's path to its content, uncompressed.
	Modules map[string][]byte
	// Builtin is the package's modules.builtin; BuiltinInfo its
	// modules.builtin.modinfo; Order its modules.order.
	Builtin, BuiltinInfo, Order []byte
}

// Indexes returns the index files by name. The same set gives the same bytes.
func (s *Set) Indexes() (map[string][]byte, error) {
	infos, paths, err := s.infos()
	if err != nil {
		return nil, err
	}
	var dep, alias, softdep bytes.Buffer
	alias.WriteString("# Aliases extracted from modules themselves.\n")
	softdep.WriteString("# Soft dependencies extracted from modules themselves.\n")
	for _, path := range slices.Sorted(maps.Keys(s.Modules)) {
		m := infos[Name(path)]
		deps, err := closure(m.Name, infos, paths)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&dep, "%s:", path)
		for _, d := range deps {
			fmt.Fprintf(&dep, " %s", paths[d])
		}
		dep.WriteByte('\n')
		for _, a := range m.Aliases {
			fmt.Fprintf(&alias, "alias %s %s\n", a, m.Name)
		}
		for _, d := range m.SoftDeps {
			fmt.Fprintf(&softdep, "softdep %s %s\n", m.Name, d)
		}
	}
	var builtinAlias bytes.Buffer
	for _, m := range parseBuiltinInfo(s.BuiltinInfo) {
		for _, a := range m.Aliases {
			fmt.Fprintf(&builtinAlias, "alias %s %s\n", a, m.Name)
		}
	}
	return map[string][]byte{
		"modules.dep": dep.Bytes(), "modules.alias": alias.Bytes(), "modules.softdep": softdep.Bytes(),
		"modules.builtin": s.Builtin, "modules.builtin.modinfo": s.BuiltinInfo,
		"modules.builtin.alias": builtinAlias.Bytes(), "modules.order": s.Order,
	}, nil
}

// infos returns what each module says and where it is, by module name.
func (s *Set) infos() (map[string]Info, map[string]string, error) {
	infos, paths := map[string]Info{}, map[string]string{}
	for path, ko := range s.Modules {
		m, err := ReadInfo(path, ko)
		if err != nil {
			return nil, nil, err
		}
		if old, ok := paths[m.Name]; ok {
			return nil, nil, fmt.Errorf("index modules: %s is both %s and %s", m.Name, old, path)
		}
		infos[m.Name], paths[m.Name] = m, path
	}
	return infos, paths, nil
}

// closure lists everything that module name needs, in the order of depmod: the
// last one is to be loaded first.
func closure(name string, infos map[string]Info, paths map[string]string) ([]string, error) {
	var loadOrder []string
	state := map[string]int{} // 1 being visited, 2 done
	var visit func(n string) error
	visit = func(n string) error {
		switch state[n] {
		case 1:
			return fmt.Errorf("index modules: %s depends on itself", n)
		case 2:
			return nil
		}
		if paths[n] == "" {
			return fmt.Errorf("index modules: %s needs %s, which is not there", name, n)
		}
		state[n] = 1
		for _, d := range infos[n].Depends {
			if err := visit(d); err != nil {
				return err
			}
		}
		state[n] = 2
		if n != name {
			loadOrder = append(loadOrder, n)
		}
		return nil
	}
	if err := visit(name); err != nil {
		return nil, err
	}
	slices.Reverse(loadOrder)
	return loadOrder, nil
}

// Subset returns the set of the named modules and everything they need, hard
// and soft. A name that is neither a module nor built in is an error. What is needed
// softly may be an alias, as crc32c is of two modules: each module that has it is
// taken, since which of them fits is up to the processor.
func (s *Set) Subset(names ...string) (*Set, error) {
	infos, paths, err := s.infos()
	if err != nil {
		return nil, err
	}
	builtin, aliases := s.builtinNames(), exactAliases(infos)
	out := &Set{Release: s.Release, Modules: map[string][]byte{}, Builtin: s.Builtin, BuiltinInfo: s.BuiltinInfo}
	var add func(name string, must bool) error
	add = func(name string, must bool) error {
		path := paths[name]
		if path == "" {
			if must && !builtin[name] {
				return fmt.Errorf("choose modules: %s is neither a module nor built in", name)
			}
			return nil
		}
		if out.Modules[path] != nil {
			return nil
		}
		out.Modules[path] = s.Modules[path]
		for _, d := range infos[name].Depends {
			if err := add(d, true); err != nil {
				return err
			}
		}
		for _, line := range infos[name].SoftDeps {
			for f := range strings.FieldsSeq(line) {
				f = strings.ReplaceAll(f, "-", "_")
				for _, n := range append([]string{f}, aliases[f]...) {
					if err := add(n, false); err != nil {
						return err
					}
				}
			}
		}
		return nil
	}
	for _, n := range names {
		if err := add(n, true); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// exactAliases maps the aliases that are no patterns, with underscores, to the names
// of the modules that have them.
func exactAliases(infos map[string]Info) map[string][]string {
	out := map[string][]string{}
	for _, m := range infos {
		for _, a := range m.Aliases {
			if !strings.ContainsAny(a, "*?[") {
				a = strings.ReplaceAll(a, "-", "_")
				out[a] = append(out[a], m.Name)
			}
		}
	}
	return out
}

func (s *Set) builtinNames() map[string]bool {
	out := map[string]bool{}
	for line := range strings.Lines(string(s.Builtin)) {
		out[Name(strings.TrimSpace(line))] = true
	}
	return out
}
