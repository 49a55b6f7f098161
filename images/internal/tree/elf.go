package tree

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"path"
	"slices"
)

// IsELF reports whether b begins like an ELF file.
func IsELF(b []byte) bool { return bytes.HasPrefix(b, []byte(elf.ELFMAG)) }

// Needed returns the libraries and the program interpreter that the ELF file
// b names, as written there. A static program needs none.
func Needed(b []byte) (libs []string, interp string, err error) {
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, "", fmt.Errorf("read ELF: %w", err)
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		raw := make([]byte, min(p.Filesz, 4096))
		if _, err := p.ReadAt(raw, 0); err != nil {
			return nil, "", fmt.Errorf("read ELF interpreter: %w", err)
		}
		name, _, _ := bytes.Cut(raw, []byte{0})
		interp = string(name)
	}
	libs, err = f.ImportedLibraries()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return nil, "", fmt.Errorf("read ELF libraries: %w", err)
	}
	return libs, interp, nil
}

// CopyClosure copies the programs from one tree to another, to the same
// paths, with exactly the libraries they need; those are looked up in libDir
// of from. It returns the copied paths, sorted.
func CopyClosure(to, from *Tree, libDir string, programs ...string) ([]string, error) {
	done := map[string]bool{}
	for queue := slices.Clone(programs); len(queue) > 0; {
		name := queue[0]
		queue = queue[1:]
		file := from.Resolve(name)
		if file == "" {
			return nil, fmt.Errorf("copy %s: not in the packages of the lock file", name)
		}
		if done[name] {
			continue
		}
		done[name] = true
		e := from.Get(file)
		to.Put(name, &Entry{Kind: File, Mode: e.Mode, UID: e.UID, GID: e.GID, Data: e.Data, Source: e.Source})
		b, err := e.Content()
		if err != nil {
			return nil, fmt.Errorf("copy %s: %w", name, err)
		}
		if !IsELF(b) {
			continue
		}
		libs, interp, err := Needed(b)
		if err != nil {
			return nil, fmt.Errorf("copy %s: %w", name, err)
		}
		for _, l := range libs {
			queue = append(queue, path.Join(libDir, l))
		}
		if interp != "" {
			queue = append(queue, Merged(interp))
		}
	}
	out := make([]string, 0, len(done))
	for name := range done {
		out = append(out, name)
	}
	slices.Sort(out)
	return out, nil
}
