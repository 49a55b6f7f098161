package kernel

import (
	"bytes"
	"debug/elf"
	"fmt"
	"strings"
)

// Info is what a module says about itself in its .modinfo section.
type Info struct {
	// Name is the module's name with underscores.
	Name string
	// Depends are the names of the modules whose symbols it uses.
	Depends []string
	Aliases []string
	// SoftDeps are lines of the form "pre: a b post: c".
	SoftDeps []string
	// Firmware are files below /usr/lib/firmware that it may ask for.
	Firmware []string
}

// Name returns the module name that belongs to a file name: no extension,
// dashes as underscores.
func Name(file string) string {
	base := file[strings.LastIndexByte(file, '/')+1:]
	base, _, _ = strings.Cut(base, ".ko")
	return strings.ReplaceAll(base, "-", "_")
}

// ReadInfo reads the .modinfo section of a module.
func ReadInfo(file string, ko []byte) (Info, error) {
	f, err := elf.NewFile(bytes.NewReader(ko))
	if err != nil {
		return Info{}, fmt.Errorf("read module %s: %w", file, err)
	}
	s := f.Section(".modinfo")
	if s == nil {
		return Info{}, fmt.Errorf("read module %s: no .modinfo section", file)
	}
	raw, err := s.Data()
	if err != nil {
		return Info{}, fmt.Errorf("read module %s: %w", file, err)
	}
	return parseInfo(Name(file), raw), nil
}

// parseInfo reads NUL-separated key=value strings.
func parseInfo(name string, raw []byte) Info {
	m := Info{Name: name}
	for field := range bytes.SplitSeq(raw, []byte{0}) {
		key, value, ok := strings.Cut(string(field), "=")
		if !ok || value == "" {
			continue
		}
		switch key {
		case "depends":
			for d := range strings.SplitSeq(value, ",") {
				if d != "" {
					m.Depends = append(m.Depends, strings.ReplaceAll(d, "-", "_"))
				}
			}
		case "alias":
			m.Aliases = append(m.Aliases, value)
		case "softdep":
			m.SoftDeps = append(m.SoftDeps, value)
		case "firmware":
			m.Firmware = append(m.Firmware, value)
		}
	}
	return m
}

// parseBuiltinInfo reads modules.builtin.modinfo: NUL-separated
// "module.key=value" strings of the code that is part of the kernel.
func parseBuiltinInfo(raw []byte) []Info {
	var out []Info
	at := map[string]int{}
	for field := range bytes.SplitSeq(raw, []byte{0}) {
		module, rest, ok := strings.Cut(string(field), ".")
		if !ok {
			continue
		}
		name := strings.ReplaceAll(module, "-", "_")
		i, ok := at[name]
		if !ok {
			i = len(out)
			at[name] = i
			out = append(out, Info{Name: name})
		}
		out[i].Aliases = append(out[i].Aliases, parseInfo(name, []byte(rest)).Aliases...)
	}
	return out
}
