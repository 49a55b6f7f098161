package kernel

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

// Firmware is the reviewed list of the firmware of an image.
type Firmware struct {
	// Lines are in the order of the list; several may be of one package.
	Lines []FirmwareLine
	// Without are files that modules ask for and the image does without.
	Without []string
}

// FirmwareLine are files of one package under one licence.
type FirmwareLine struct {
	// Package is one of Debian, and License what its copyright file calls the licence.
	Package, License string
	// Files are paths below /usr/lib/firmware, as modules ask for them.
	Files []string
}

// ParseFirmware reads a list of firmware, of lines "PACKAGE LICENCE FILE…" and
// "without FILE…", with comments from # to the end of the line. A file that is there
// twice is an error.
func ParseFirmware(r io.Reader) (Firmware, error) {
	var list Firmware
	seen := map[string]bool{}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		files, err := list.add(words)
		if err != nil {
			return Firmware{}, fmt.Errorf("read firmware list: line %d: %w", n, err)
		}
		for _, f := range files {
			if !fs.ValidPath(f) || f == "." {
				return Firmware{}, fmt.Errorf("read firmware list: line %d: %q is no path below /usr/lib/firmware", n, f)
			}
			if seen[f] {
				return Firmware{}, fmt.Errorf("read firmware list: line %d: %s is there a second time", n, f)
			}
			seen[f] = true
		}
	}
	if err := lines.Err(); err != nil {
		return Firmware{}, fmt.Errorf("read firmware list: %w", err)
	}
	return list, nil
}

// add takes one line, and returns the files in it.
func (f *Firmware) add(words []string) ([]string, error) {
	switch {
	case words[0] == "without" && len(words) > 1:
		f.Without = append(f.Without, words[1:]...)
		return words[1:], nil
	case strings.HasPrefix(words[0], "firmware-") && len(words) > 2:
		f.Lines = append(f.Lines, FirmwareLine{Package: words[0], License: words[1], Files: words[2:]})
		return words[2:], nil
	}
	return nil, fmt.Errorf("%q is neither of the form firmware-PACKAGE LICENCE FILE… nor without FILE…", strings.Join(words, " "))
}

// Packages are the packages of the list, sorted, each once.
func (f Firmware) Packages() []string {
	var out []string
	for _, l := range f.Lines {
		out = append(out, l.Package)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Check holds the list against what modules ask for: each of these files has to be in
// it, and nothing else.
func (f Firmware) Check(asked map[string]string) error {
	listed := map[string]bool{}
	for _, name := range f.Without {
		listed[name] = true
	}
	for _, l := range f.Lines {
		for _, name := range l.Files {
			listed[name] = true
		}
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		if !listed[name] {
			errs = append(errs, fmt.Errorf("module %s asks for %s, which is not in the list", asked[name], name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		if asked[name] == "" {
			errs = append(errs, fmt.Errorf("no module asks for %s, which is in the list", name))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("check firmware list: %w", err)
	}
	return nil
}

// Firmware maps the files that the modules of the set ask for to the name of one that
// does.
func (s *Set) Firmware() (map[string]string, error) {
	infos, _, err := s.infos()
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(infos)) {
		for _, file := range infos[name].Firmware {
			out[file] = name
		}
	}
	return out, nil
}
