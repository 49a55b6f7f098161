package sbom

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// known are the licences of Go modules, each with phrases of which a text of that
// licence has every one. Of those that fit, the first counts: a longer licence is
// before the one that it contains.
var known = []struct {
	id      string
	phrases []string
}{
	{"Apache-2.0", []string{"apache license", "version 2.0"}},
	{"MPL-2.0", []string{"mozilla public license", "version 2.0"}},
	{"BSD-3-Clause", []string{"redistribution and use in source and binary forms", "endorse or promote products"}},
	{"BSD-2-Clause", []string{"redistribution and use in source and binary forms", "redistributions in binary form must reproduce"}},
	{"MIT", []string{"permission is hereby granted, free of charge", "the software is provided \"as is\""}},
	{"ISC", []string{"permission to use, copy, modify, and/or distribute this software for any purpose"}},
}

// License returns the SPDX expression of the licence files in the directory of a
// module's sources, and "" when none is recognised.
func License(dir string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() || !isLicenseFile(e.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			continue
		}
		ids = append(ids, licensesOf(text)...)
	}
	slices.Sort(ids)
	return strings.Join(slices.Compact(ids), " AND ")
}

// licensesOf looks for the phrases in text, whatever its line breaks.
func licensesOf(text []byte) []string {
	plain := strings.ToLower(strings.Join(strings.Fields(string(text)), " "))
	for _, k := range known {
		if !slices.ContainsFunc(k.phrases, func(p string) bool { return !strings.Contains(plain, p) }) {
			return []string{k.id}
		}
	}
	return nil
}

func isLicenseFile(name string) bool {
	name = strings.ToUpper(name)
	return strings.HasPrefix(name, "LICENSE") || strings.HasPrefix(name, "LICENCE") || strings.HasPrefix(name, "COPYING")
}

// DebianLicenses returns the licence names in a package's copyright file of the
// machine-readable form (DEP 5), sorted. They are Debian's names and not SPDX's.
func DebianLicenses(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(line, "License:"); ok {
			out = append(out, strings.TrimSpace(name))
		}
	}
	slices.Sort(out)
	return slices.DeleteFunc(slices.Compact(out), func(s string) bool { return s == "" })
}
